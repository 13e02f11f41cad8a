"""EKL204: int8 activations on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import constant
from edgekit.quantize.lint._edit import (
    expected_bias_scale,
    fits_int32,
    layers_behind,
    quantize_bias,
    set_parameters,
    shift_to,
)
from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import (
    LAYERS,
    View,
    bias_conversion,
    integer_type,
    is_non_negative,
    label,
    operand,
    pair,
    producer,
    real,
    scale,
    zero_point,
)


def check(view: View, target: str) -> Iterator[Fault]:
    """Find activations that are int8."""
    for node in view.quantizers():
        if integer_type(node) == np.int8:
            yield Fault(label(node), f"{label(node)} makes int8", fixable=_is_fixable(node))


def fix(view: View, node: ir.Node) -> bool:
    """Store the same values as uint8; what is never negative gets all 256 integers."""
    conversions = pair(node)
    if integer_type(node) != np.int8 or conversions is None or not _is_fixable(node):
        return False
    highest = _highest(node)
    if highest is not None and _can_rescale(conversions, highest):
        set_parameters(view, conversions, np.asarray(highest / 255), np.zeros((), np.uint8))
        for layer in layers_behind(conversions):
            if bias_conversion(layer) is not None:
                quantize_bias(view, layer)
    else:
        shift_to(view, conversions, np.uint8)
    return True


def _is_fixable(node: ir.Node) -> bool:
    steps = scale(node)
    return pair(node) is not None and steps is not None and zero_point(node) is not None


def _highest(node: ir.Node) -> float | None:
    """The largest value of a tensor that is never negative, None for any other tensor."""
    steps, zeros = scale(node), zero_point(node)
    if steps is None or zeros is None or steps.size != 1 or not is_non_negative(node.inputs[0]):
        return None
    highest = (127 - int(zeros[0])) * float(steps[0])
    clip = producer(node.inputs[0], "Clip")
    limit = None if clip is None else constant(operand(clip, 2))
    # Above the limit of a Clip there is nothing to store, and only a range within its limits can do its work.
    return highest if limit is None else min(highest, float(limit.reshape(())))


def _can_rescale(conversions: tuple[ir.Node, ...], highest: float) -> bool:
    """Whether all readers are layers that take any scale, and their biases fit the new one."""
    uses = [use for node in conversions[1:] for use in node.outputs[0].uses()]
    free = LAYERS | {"Add", "Mul", "GlobalAveragePool"}
    if highest <= 0 or any(use.node.op_type not in free for use in uses):
        return False
    if any(node.outputs[0].is_graph_output() for node in conversions):
        return False
    before = scale(conversions[0])
    for layer in layers_behind(conversions):
        bias, expected = bias_conversion(layer), expected_bias_scale(layer)
        if bias is None:
            continue
        values = real(bias)
        if values is None or expected is None or before is None:
            return False
        if not fits_int32(values, expected * np.float32(highest / 255 / before[0])):
            return False
    return True


RULE = Rule(
    "EKL204",
    "int8 activation on a CPU",
    Severity.WARNING,
    CPU,
    "kernels on x86 multiply uint8 by int8: int8 activations are converted, an addition of int8 and uint8 runs in "
    "float, and zero in the middle keeps a Relu or Clip from being absorbed, so layers stay in float",
    "quantize activations to uint8",
    check,
    fix,
    "nothing where values of both signs occur; elsewhere the steps become finer, up to half as wide, and biases are "
    "rounded anew in these steps",
)
