"""From what a user names as MODEL to the ONNX file that a target's TensorRT builds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.engine import lower
from edgekit.errors import UsageError
from edgekit.export import load_onnx, opset_of, with_opset
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.sources import Source, describe_onnx, is_onnx, open_source
from edgekit.pipeline.targeting import Target, choose_target, notes_of
from edgekit.spec import Note
from edgekit.targets import BuildPlan, Card, facts_of

if TYPE_CHECKING:
    import onnx


@dataclasses.dataclass(frozen=True)
class Planned:
    """A model with the plan for its target, before it is lowered.

    Attributes:
        source: The model and what is known about it.
        card: The target.
        plan: How it gets onto the target.
        notes: What was planned and done.
    """

    source: Source
    card: Card
    plan: BuildPlan
    notes: tuple[Note, ...]


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A model as it goes to a target.

    Attributes:
        model: The lowered model.
        card: The target.
        plan: How it gets onto the target.
        source: What it came from.
        notes: What was planned and rewritten.
    """

    model: onnx.ModelProto
    card: Card
    plan: BuildPlan
    source: Source
    notes: tuple[Note, ...]


def lower_for(model: str | None, target: str, jetpack: str | None = None) -> Lowered:
    """Plan and lower a model for a TensorRT target.

    Args:
        model: Checkpoint, architecture name, `.onnx` file (FP32, or with the target's Q/DQ), or None for the model
            that ships.
        target: Name or path of a card.
        jetpack: Version of JetPack; None takes the card's newest.

    Raises:
        EdgekitError: As `plan_for`; EK702 when the model holds what the target cannot.
    """
    planned = plan_for(model, target, jetpack)
    lowered, notes = lower(planned.source.model, planned.plan)
    return Lowered(lowered, planned.card, planned.plan, planned.source, (*planned.notes, *notes))


def plan_for(model: str | None, target: str, jetpack: str | None = None) -> Planned:
    """Open a model in the opset of a TensorRT target, and plan it.

    Args:
        model: As for `lower_for`.
        target: Name or path of a card.
        jetpack: Version of JetPack; None takes the card's newest.

    Raises:
        EdgekitError: EK002 for a target without TensorRT, EK1xx and EK4xx for the model, EK702 when TensorRT reads no
            such model.
    """
    chosen, card = tensorrt_target(target, jetpack)
    notes: tuple[Note, ...] = ()
    if model is not None and is_onnx(model) and facts_of(given := load_onnx(Path(model))).quantized:
        # What is quantized for something else is refused here; the rest is brought to an opset that is read.
        plan = chosen.plan(given)
        assert plan is not None
        assert plan.opset is not None
        fitting, notes = with_opset(given, plan.opset) if opset_of(given) > plan.opset else (given, ())
        source = describe_onnx(fitting, Path(model), NO_OVERRIDES)
    else:
        source = open_source(model, NO_OVERRIDES, chosen.opset)
    plan = chosen.plan(source.model)
    assert plan is not None
    return Planned(source, card, plan, (*notes_of(plan), *source.notes, *notes))


def tensorrt_target(name: str, jetpack: str | None = None) -> tuple[Target, Card]:
    """Find a target that has TensorRT, and its card.

    Raises:
        EdgekitError: EK001 when it has no such JetPack, EK002 when there is none of that name or it has no TensorRT,
            EK701 when its card is wrong.
    """
    chosen = choose_target(name, "none", None, jetpack)
    if chosen.card is None or not chosen.card.is_gpu:
        raise UsageError("EK002", f"{name} has no TensorRT", where="--target", hint="see edgekit targets")
    return chosen, chosen.card
