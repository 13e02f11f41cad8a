"""EKL108: quantized operators instead of Q/DQ."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.quantize._graph import is_quantized_operator
from edgekit.quantize.lint._rule import TENSORRT, Fault, Rule, Severity
from edgekit.quantize.lint._view import CONVERSIONS, View, label


def check(view: View, target: str) -> Iterator[Fault]:
    """Find operators of onnxruntime's operator-oriented and dynamic formats."""
    for node in view.graph:
        if is_quantized_operator(node.op_type) and node.op_type not in CONVERSIONS:
            yield Fault(label(node), f"{label(node)} is {node.op_type}")


RULE = Rule(
    "EKL108",
    "quantized operator instead of Q/DQ",
    Severity.ERROR,
    TENSORRT,
    "TensorRT's parser knows only QuantizeLinear and DequantizeLinear, not the operators of onnxruntime's "
    "other formats",
    "quantize statically, in the Q/DQ format",
    check,
)
