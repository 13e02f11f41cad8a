"""EKL209: a bias stored in int32, for TensorRT."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import add_constant
from edgekit.quantize.lint._edit import remove_unread
from edgekit.quantize.lint._rule import TENSORRT, Fault, Rule, Severity
from edgekit.quantize.lint._view import LAYERS, View, bias_conversion, label, real


def check(view: View, target: str) -> Iterator[Fault]:
    """Find layers whose bias goes through a DequantizeLinear of int32."""
    for layer in view.nodes(*LAYERS):
        bias = bias_conversion(layer)
        if bias is not None:
            what = f"the bias of {label(layer)} is int32 behind {label(bias)}"
            yield Fault(label(layer), what, fixable=real(bias) is not None)


def fix(view: View, layer: ir.Node) -> bool:
    """Store the bias in float32."""
    bias = bias_conversion(layer)
    values = None if bias is None else real(bias)
    if bias is None or values is None:
        return False
    floats = add_constant(view.graph, view.names, f"{label(layer)}_bias", values.astype(np.float32))
    layer.replace_input_with(2, floats)
    remove_unread(view, bias)
    return True


RULE = Rule(
    "EKL209",
    "int32 bias for TensorRT",
    Severity.ERROR,
    TENSORRT,
    "TensorRT's DequantizeLinear does not take int32",
    "keep the bias in float32; TensorRT quantizes it itself",
    check,
    fix,
    "nothing",
)
