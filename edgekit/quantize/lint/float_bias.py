"""EKL210: a bias that is not stored where an int8 kernel looks for it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.quantize._graph import MOVES, float_constant
from edgekit.quantize.lint._edit import expected_bias_scale, fits_int32, quantize_bias
from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, bias_values, dequantizer, label, operand, producer


def check(view: View, target: str) -> Iterator[Fault]:
    """Find quantized layers whose bias is neither int32 nor, for a convolution, a float constant."""
    for layer in view.layers():
        why = _why_not(layer)
        if why is not None:
            values, steps = bias_values(layer), expected_bias_scale(layer)
            fixable = values is not None and values.ndim == 1 and steps is not None and fits_int32(values, steps)
            yield Fault(label(layer), f"the bias of {label(layer)} {why}", fixable=fixable)


def fix(view: View, layer: ir.Node) -> bool:
    """Store the bias in int32."""
    return _why_not(layer) is not None and quantize_bias(view, layer)


def _why_not(layer: ir.Node) -> str | None:
    """Return what is wrong with the bias of a layer that reads integers, None when nothing is."""
    if layer.op_type not in {"Conv", "Gemm"} or dequantizer(layer.inputs[0]) is None:
        return None
    bias = operand(layer, 2)
    move = producer(bias, *MOVES)
    if move is not None and bias_values(layer) is not None:
        return f"comes through {label(move)}"
    return "is float32" if layer.op_type == "Gemm" and float_constant(bias) is not None else None


RULE = Rule(
    "EKL210",
    "bias that no int8 kernel takes",
    Severity.WARNING,
    CPU,
    "onnxruntime has an int8 kernel for a Gemm only if its bias is int32, and for a convolution only if nothing is "
    "between its bias and where that is stored; an exporter puts an Identity there where two layers share a bias",
    "store a bias for each layer in int32, in steps of input scale times weight scale",
    check,
    fix,
    "the bias is rounded, by at most half a step",
)
