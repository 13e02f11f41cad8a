"""`edgekit check-engine`: lower a model for a target and hear what NVIDIA's own parser says about it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from edgekit.engine import Verdict, check
from edgekit.pipeline.lowering import lower_for
from edgekit.spec import Note
from edgekit.targets import BuildPlan


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


def check_engine(model: str | None, target: str, jetpack: str | None = None) -> Checked:
    """Plan and lower a model for a TensorRT target, then parse and build it with TensorRT-RTX.

    Raises:
        EdgekitError: As `lower_for`; EK004 without the packages.
    """
    lowered = lower_for(model, target, jetpack)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(lowered.model.SerializeToString(deterministic=True))
        verdict = check(path)
    weighted = [node.name for node in lowered.model.graph.node if node.op_type in ("Conv", "Gemm")]
    reads = Counter(verdict.inputs[name] for name in weighted if name in verdict.inputs)
    return Checked(lowered.source.name, lowered.plan, verdict, dict(sorted(reads.items())), lowered.notes)
