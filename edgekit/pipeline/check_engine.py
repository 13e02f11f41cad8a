"""`edgekit check-engine`: lower a model for a target and hear what NVIDIA's own parser says about it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from edgekit.engine import Verdict, check, lower
from edgekit.errors import UsageError
from edgekit.export import load_onnx, with_opset
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.sources import is_onnx, open_source
from edgekit.pipeline.targeting import choose_target, notes_of
from edgekit.spec import Note
from edgekit.targets import BuildPlan, facts_of


@dataclasses.dataclass(frozen=True)
class Checked:
    """A model as it would go to a target, and the verdict on it.

    Attributes:
        model: As the user named it.
        plan: How it gets onto the target.
        verdict: What TensorRT-RTX said about the lowered model.
        reads: How many of its Conv and Gemm read `Int8`, `Half` or `Float`, where the engine's log says so.
        notes: What was planned and rewritten.
    """

    model: str
    plan: BuildPlan
    verdict: Verdict
    reads: Mapping[str, int]
    notes: tuple[Note, ...]


def check_engine(model: str, target: str, jetpack: str | None = None) -> Checked:
    """Plan and lower a model for a TensorRT target, then parse and build it with TensorRT-RTX.

    Args:
        model: Checkpoint, architecture name or `.onnx` file, FP32 or with the target's Q/DQ.
        target: Name or path of a card.
        jetpack: Version of JetPack; None takes the card's newest.

    Raises:
        EdgekitError: EK002 for a target without TensorRT, EK004 without the packages, EK1xx and EK4xx for the model,
            EK702 when TensorRT reads no such model.
    """
    chosen = choose_target(target, "none", None, jetpack)
    if chosen.card is None or not chosen.card.is_gpu:
        raise UsageError("EK002", f"{target} has no TensorRT", where="--target", hint="see edgekit targets")
    notes: tuple[Note, ...] = ()
    if is_onnx(model) and facts_of(given := load_onnx(Path(model))).quantized:
        # Refused here already if it is of another target; only what TensorRT can read is brought to its opset.
        plan = chosen.plan(given)
        assert plan is not None
        assert plan.opset is not None
        opset = next(entry.version for entry in given.opset_import if entry.domain in ("", "ai.onnx"))
        onnx_model, notes = with_opset(given, plan.opset) if opset > plan.opset else (given, ())
    else:
        onnx_model = open_source(model or None, NO_OVERRIDES, chosen.opset).model
    plan = chosen.plan(onnx_model)
    assert plan is not None
    lowered, more = lower(onnx_model, plan)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(lowered.SerializeToString(deterministic=True))
        verdict = check(path)
    weighted = [node.name for node in lowered.graph.node if node.op_type in ("Conv", "Gemm")]
    reads = Counter(verdict.inputs[name] for name in weighted if name in verdict.inputs)
    return Checked(model, plan, verdict, dict(sorted(reads.items())), (*notes_of(plan), *notes, *more))
