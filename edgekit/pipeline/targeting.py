"""What a target makes of an export: the opset to write, the Q/DQ flavour, and a plan with its reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import TargetError, UsageError
from edgekit.export import load_onnx
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.sources import is_onnx, open_source
from edgekit.quantize import FLAVOURS
from edgekit.spec import Note, Quantization
from edgekit.targets import BuildPlan, Card, ModelFacts, Wishes, facts_of, load_card, names, opset_for, plan

if TYPE_CHECKING:
    import onnx


@dataclasses.dataclass(frozen=True)
class Target:
    """A target as an export sees it.

    Attributes:
        name: As the user gave it.
        card: Its card; None for `tensorrt` and `tensorrt8`, which are forms of Q/DQ without a device.
        wishes: What is asked of it.
    """

    name: str
    card: Card | None
    wishes: Wishes

    @property
    def opset(self) -> int | None:
        """The opset to write; None takes the default."""
        return opset_for(self.card, self.wishes) if self.card else self.wishes.opset

    def plan(self, model: onnx.ModelProto) -> BuildPlan | None:
        """Return the plan for a model; None without a card.

        Raises:
            TargetError: EK702 when TensorRT reads no such model there.
        """
        return plan(facts_of(model), self.card, self.wishes) if self.card else None


def choose_target(
    name: str, quantize: Quantization = "none", opset: int | None = None, jetpack: str | None = None
) -> Target:
    """Find a target by the name of its card, the path of a card, or the name of a Q/DQ flavour.

    Raises:
        UsageError: EK001 when it has no such JetPack, EK002 when there is none of that name.
        TargetError: EK701 when its card is wrong.
    """
    wishes = Wishes(quantize, opset, jetpack)
    if name in FLAVOURS and name not in names():
        return Target(name, None, wishes)
    return _of_card(name, load_card(name), wishes)


def _of_card(name: str, card: Card, wishes: Wishes) -> Target:
    if wishes.jetpack is not None and not card.is_gpu:
        raise UsageError("EK001", f"{name} has no JetPack", where="--jetpack", hint="leave the option out")
    return Target(name, card, wishes)


def notes_of(plan: BuildPlan | None) -> tuple[Note, ...]:
    """Return what a user must know of a plan, one line each: wishes not granted, and facts nobody has verified."""
    if plan is None:
        return ()
    changes = tuple(Note(change.code, change.what) for change in plan.changes)
    if not plan.cautions:
        return changes
    return (*changes, Note("plan", f"not verified by anybody: {'; '.join(plan.cautions)}"))


def plan_model(model: str, cards: Sequence[Card], quantize: Quantization, jetpack: str | None) -> list[BuildPlan | str]:
    """Return the plan of a model for each card, or why there is none.

    Raises:
        EdgekitError: EK1xx or EK4xx when MODEL cannot be used, EK001 when a card has no such JetPack.
    """
    targets = [_of_card(card.name, card, Wishes(quantize, None, jetpack)) for card in cards]
    by_opset: dict[int | None, ModelFacts] = {}
    plans: list[BuildPlan | str] = []
    for target, card in zip(targets, cards, strict=True):
        if target.opset not in by_opset:
            by_opset[target.opset] = _facts(model, target.opset)
        try:
            plans.append(plan(by_opset[target.opset], card, target.wishes))
        except TargetError as error:
            plans.append(f"{error.code} {error.what}; {error.hint}")
    return plans


def _facts(model: str, opset: int | None) -> ModelFacts:
    """Return the facts of a model as it would be exported; an `.onnx` file that is quantized already stays as it is."""
    if is_onnx(model):
        facts = facts_of(load_onnx(Path(model)))
        if facts.quantized:
            return facts
    return facts_of(open_source(model, NO_OVERRIDES, opset).model)
