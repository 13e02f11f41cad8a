"""EKL201: a scale that is zero, or no number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.quantize._graph import constant
from edgekit.quantize.lint._edit import expected_bias_scale, set_integers, set_parameters
from edgekit.quantize.lint._rule import ALL, Fault, Rule, Severity
from edgekit.quantize.lint._view import (
    CONVERSIONS,
    View,
    along,
    bias_conversion,
    channel_axis,
    label,
    scale,
    zero_point,
)

# Below it float32 has no normal numbers, and a processor that flushes the others to zero divides by zero.
_SMALLEST = float(np.finfo(np.float32).tiny)


def check(view: View, target: str) -> Iterator[Fault]:
    """Find conversions with a scale that cannot be divided by."""
    for node in view.nodes(*CONVERSIONS):
        dead = _dead(node)
        if dead is not None and dead.any():
            count = f"{int(dead.sum())} of {dead.size} scales" if dead.size > 1 else "the scale"
            fixable = node.op_type == "DequantizeLinear" and constant(node.inputs[0]) is not None
            yield Fault(label(node), f"{count} of {label(node)} cannot be divided by", fixable=fixable)


def fix(view: View, node: ir.Node) -> bool:
    """Store a dead channel as zeros, with the median of the other scales."""
    dead, steps, zeros = _dead(node), scale(node), zero_point(node)
    integers = constant(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
    if dead is None or not dead.any() or steps is None or zeros is None or integers is None:
        return False
    rank = integers.ndim
    set_integers(
        view, node, np.where(along(dead, node, rank), along(zeros, node, rank), integers).astype(integers.dtype)
    )
    mended = np.where(dead, np.median(steps[~dead]) if not dead.all() else 1.0, steps)
    for layer in _layers_with_bias(node):
        mended = _as_the_layer_counts(layer, node, mended, dead)
    shape = mended.shape if dead.size > 1 else ()
    points = np.broadcast_to(zeros, mended.shape).astype(integers.dtype).reshape(shape)
    axis = channel_axis(node, rank) if dead.size > 1 and "axis" in node.attributes else None
    set_parameters(view, [node], mended.reshape(shape), points, axis)
    return True


def _layers_with_bias(node: ir.Node) -> list[ir.Node]:
    """The layers that read a dequantized bias, whose scale must then be that of input and weight."""
    return [use.node for use in node.outputs[0].uses() if use.idx == 2 and bias_conversion(use.node) is node]


def _as_the_layer_counts(
    layer: ir.Node, node: ir.Node, steps: npt.NDArray[np.float64], dead: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    expected = expected_bias_scale(layer)
    if expected is None or expected.size != steps.size:
        return steps
    return np.where(dead & (expected > 0), expected.astype(np.float64), steps)


def _dead(node: ir.Node) -> npt.NDArray[np.bool_] | None:
    steps = scale(node)
    return None if steps is None else ~((steps >= _SMALLEST) & np.isfinite(steps))


RULE = Rule(
    "EKL201",
    "scale of zero",
    Severity.ERROR,
    ALL,
    "a division by it gives NaN or infinity, a bias stored in steps of it is lost, and TensorRT refuses the model. A "
    "pruned or dead channel makes such a scale, as does a tensor that was constant during calibration",
    "give the channel any scale above zero; its integers are zero anyway. For an activation, calibrate on images on "
    "which it is alive",
    check,
    fix,
    "nothing",
)
