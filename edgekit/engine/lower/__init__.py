"""Lower an ONNX model to what one release of TensorRT reads: passes of one shape, one file each.

A pass is a module with `name` and `apply(model) -> (model, notes)`. Its docstring says what it needs, what it changes
and why. It never changes the model it is given. Which of them run is decided by the plan, in the order here.
"""

from __future__ import annotations

from types import ModuleType

import onnx

from edgekit.engine.lower import expand_hard_swish, fix_batch, narrow_int64, to_float16
from edgekit.errors import TargetError
from edgekit.spec import Note
from edgekit.targets import BuildPlan, facts_of

PASSES: tuple[ModuleType, ...] = (fix_batch, expand_hard_swish, narrow_int64, to_float16)


def lower(model: onnx.ModelProto, plan: BuildPlan) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Return the model as the plan's TensorRT reads it, and what was changed.

    Args:
        model: Exported model, in the plan's opset.
        plan: Says which rewrites the target needs.

    Raises:
        TargetError: EK702 when the model is in another opset, or holds a constant that the target cannot.
    """
    opset = facts_of(model).opset
    if plan.opset is not None and opset > plan.opset:
        raise TargetError(
            "EK702",
            f"the model has opset {opset}, TensorRT {plan.tensorrt} reads {plan.opset}",
            where=plan.target,
            hint=f"export it with --target {plan.target}, or with --opset {plan.opset}",
        )
    wanted = {rewrite.name for rewrite in plan.rewrites}
    notes: tuple[Note, ...] = ()
    for step in PASSES:
        if step.name in wanted:
            model, more = step.apply(model)
            notes = (*notes, *more)
    model = _without_foreign_domains(model)
    onnx.checker.check_model(model, full_check=True)
    return model, notes


def _without_foreign_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop operator sets that no node uses: old parsers stumble over names they do not know."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used or entry.domain == "ai.onnx"]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.opset_import[:]
    result.opset_import.extend(kept)
    return result
