"""EKL203: an activation with a scale per channel."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize.lint._edit import layers_behind, quantize_bias, set_parameters
from edgekit.quantize.lint._rule import ALL, TENSORRT, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, bias_conversion, integer_type, label, pair, scale, zero_point


def check(view: View, target: str) -> Iterator[Fault]:
    """Find activations that are quantized channel by channel."""
    for node in view.quantizers():
        steps = scale(node)
        if steps is not None and steps.size > 1:
            severity = Severity.ERROR if target in TENSORRT else None
            what = f"{label(node)} has {steps.size} scales, {steps.min():.3g} to {steps.max():.3g}"
            yield Fault(label(node), what, fixable=_is_fixable(node), severity=severity)


def fix(view: View, node: ir.Node) -> bool:
    """Take the largest scale for the whole tensor."""
    steps, zeros, conversions, kind = scale(node), zero_point(node), pair(node), integer_type(node)
    if steps is None or steps.size < 2 or not _is_fixable(node):
        return False
    assert zeros is not None
    assert conversions is not None
    assert kind is not None
    set_parameters(view, conversions, np.asarray(steps.max()), np.asarray(zeros[0], kind))
    for layer in layers_behind(conversions):
        if bias_conversion(layer) is not None:
            quantize_bias(view, layer)
    return True


def _is_fixable(node: ir.Node) -> bool:
    zeros = zero_point(node)
    alike = zeros is not None and bool(np.all(zeros == zeros[0]))
    return alike and pair(node) is not None and integer_type(node) is not None


RULE = Rule(
    "EKL203",
    "activation with a scale per channel",
    Severity.WARNING,
    ALL,
    "no int8 kernel multiplies it: onnxruntime leaves the layers around it in float, and TensorRT 8 takes such "
    "scales on weights only",
    "quantize the activation per tensor; equalize the channels of the two layers first if accuracy suffers",
    check,
    fix,
    "channels with small values are rounded in the steps of the largest",
)
