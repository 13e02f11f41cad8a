"""EKL205: a zero point other than zero, or uint8, for TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import constant
from edgekit.quantize.lint._edit import set_integers, set_parameters
from edgekit.quantize.lint._rule import TENSORRT, Fault, Rule, Severity
from edgekit.quantize.lint._view import (
    View,
    channel_axis,
    dequantizer,
    integer_type,
    is_non_negative,
    label,
    pair,
    producer,
    real,
    scale,
    stored,
    zero_point,
)

_EIGHT_BITS = (np.dtype(np.uint8), np.dtype(np.int8))


def check(view: View, target: str) -> Iterator[Fault]:
    """Find activations and weights that are not symmetric int8."""
    for node in view.quantizers():
        if _is_asymmetric(node):
            yield Fault(label(node), _text(node), fixable=pair(node) is not None and scale(node) is not None)
    for layer in view.layers():
        weight = dequantizer(layer.inputs[1])
        if weight is not None and _is_asymmetric(weight):
            yield Fault(label(weight), f"weights: {_text(weight)}", fixable=real(weight) is not None)


def fix(view: View, node: ir.Node) -> bool:
    """Centre the integers on zero, in steps wide enough for the same range."""
    if not _is_asymmetric(node):
        return False
    if node.op_type == "DequantizeLinear":
        return _fix_weight(view, node)
    conversions, steps, zeros, kind = pair(node), scale(node), zero_point(node), integer_type(node)
    if conversions is None or steps is None or zeros is None or kind is None or steps.size != 1:
        return False
    limits = np.iinfo(kind)
    low, high = ((end - int(zeros[0])) * float(steps[0]) for end in (limits.min, limits.max))
    if low == 0 and not is_non_negative(node.inputs[0]):
        _write_relu(view, node)
    set_parameters(view, conversions, np.asarray(max(-low, high) / 127), np.zeros((), np.int8))
    return True


def _fix_weight(view: View, node: ir.Node) -> bool:
    values, steps = real(node), scale(node)
    if values is None or steps is None:
        return False
    axis = channel_axis(node, values.ndim) if steps.size > 1 else None
    others = tuple(other for other in range(values.ndim) if other != axis)
    largest = np.abs(values).max(axis=others)
    wide = np.where(largest > 0, largest / 127, steps.reshape(np.shape(largest)))
    along_axis = wide if axis is None else np.expand_dims(wide, others)
    quantize = producer(node.inputs[0], "QuantizeLinear")
    conversions = [node] if quantize is None else [quantize, node]
    if constant(node.inputs[0]) is not None:
        set_integers(view, node, np.clip(np.rint(values / along_axis), -127, 127).astype(np.int8))
    set_parameters(view, conversions, np.asarray(wide), np.zeros(np.shape(wide), np.int8), axis)
    return True


def _write_relu(view: View, quantize: ir.Node) -> None:
    """Say with a node what saturation at integer 0 did: below zero there is nothing."""
    relu = ir.node("Relu", [quantize.inputs[0]], name=view.names.new(f"{label(quantize)}_Relu"))
    relu.outputs[0].name = view.names.new(f"{label(quantize)}_rectified")
    view.graph.insert_before(quantize, relu)
    quantize.replace_input_with(0, relu.outputs[0])


def _is_asymmetric(node: ir.Node) -> bool:
    kind, zeros = integer_type(node), zero_point(node)
    if kind not in _EIGHT_BITS or (node.op_type == "DequantizeLinear" and stored(node) is None):
        return False
    return kind == np.uint8 or (zeros is not None and bool(np.any(zeros)))


def _text(node: ir.Node) -> str:
    zeros, kind = zero_point(node), integer_type(node)
    point = "a computed zero point" if zeros is None else f"zero point {int(zeros[np.argmax(np.abs(zeros))])}"
    return f"{label(node)} is {kind} with {point}"


RULE = Rule(
    "EKL205",
    "asymmetric quantization for TensorRT",
    Severity.ERROR,
    TENSORRT,
    "TensorRT takes int8 with a zero point of zero only",
    "quantize symmetrically to int8; where saturation at zero did the work of a Relu, the Relu must be written again",
    check,
    fix,
    "steps become up to twice as wide; a Relu is added where integers began at zero; values below a negative limit are "
    "no longer cut off there",
)
