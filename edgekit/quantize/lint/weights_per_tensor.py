"""EKL207: one scale for all output channels of a convolution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import float_constant
from edgekit.quantize.lint._edit import quantize_bias, set_parameters
from edgekit.quantize.lint._rule import ALL, Fault, Rule, Severity
from edgekit.quantize.lint._view import (
    View,
    bias_conversion,
    integer_type,
    is_depthwise,
    label,
    producer,
    scale,
    weight_conversion,
    zero_point,
)


def check(view: View, target: str) -> Iterator[Fault]:
    """Find other convolutions whose weight has one scale."""
    yield from faults(layer for layer in view.layers() if not is_depthwise(layer))


def faults(layers: Iterable[ir.Node]) -> Iterator[Fault]:
    """Yield the faults of those convolutions among `layers` whose weight of several channels has one scale."""
    for layer in layers:
        weight = weight_conversion(layer)
        steps = None if weight is None else scale(weight)
        channels = layer.outputs[0].shape[1] if layer.outputs[0].shape is not None else 0
        if layer.op_type == "Conv" and steps is not None and steps.size == 1 and channels != 1:
            what = f"the weights of {label(layer)} have one scale, {float(steps[0]):.3g}"
            yield Fault(label(layer), what, fixable=_floats(layer) is not None)


def fix(view: View, layer: ir.Node) -> bool:
    """Give weights that are kept in float32 a scale per output channel, and an int32 bias the scale that follows."""
    found, weight = _floats(layer), weight_conversion(layer)
    if found is None or weight is None:
        return False
    quantize, floats = found
    largest = np.abs(floats).reshape(floats.shape[0], -1).max(axis=1).astype(np.float64)
    alive = largest[largest > 0]
    steps = np.where(largest > 0, largest, np.median(alive) if alive.size else 1.0) / 127
    set_parameters(view, (quantize, weight), steps, np.zeros(steps.shape, np.int8), axis=0)
    if bias_conversion(layer) is not None:
        quantize_bias(view, layer)
    return True


def _floats(layer: ir.Node) -> tuple[ir.Node, np.ndarray] | None:
    """The quantizer and the float32 weights of a layer that alone uses them, None where only integers are left."""
    weight = weight_conversion(layer)
    quantize = None if weight is None else producer(weight.inputs[0], "QuantizeLinear")
    if weight is None or quantize is None or len(weight.outputs[0].uses()) != 1 or len(quantize.outputs[0].uses()) != 1:
        return None
    zeros, floats = zero_point(quantize), float_constant(quantize.inputs[0])
    symmetric = zeros is not None and not np.any(zeros) and integer_type(quantize) == np.int8
    return (quantize, floats) if floats is not None and symmetric else None


RULE = Rule(
    "EKL207",
    "convolution weights with one scale per tensor",
    Severity.WARNING,
    ALL,
    "output channels differ in size, and a scale each costs nothing at run time",
    "quantize the float model again, per channel; what was rounded away is not in this file",
    check,
    fix,
    "weights kept in float32 get a scale per channel and so finer steps",
)
