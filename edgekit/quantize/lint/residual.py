"""EKL106: a residual addition with both inputs quantized."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.quantize._graph import only_reader
from edgekit.quantize.lint._edit import remove_unread
from edgekit.quantize.lint._rule import TENSORRT, Fault, Rule, Severity
from edgekit.quantize.lint._view import LAYERS, View, dequantizer, label, producer


def check(view: View, target: str) -> Iterator[Fault]:
    """Find additions whose branch from a layer is quantized as the other branch is."""
    for addition in view.nodes("Add"):
        branch = _branch(addition)
        if branch is not None:
            layer = producer(branch[1].inputs[0], *LAYERS)
            name = "a layer" if layer is None else label(layer)
            yield Fault(label(addition), f"{label(addition)} reads {name} through {label(branch[1])}", fixable=True)


def fix(view: View, addition: ir.Node) -> bool:
    """Let the addition read the layer itself."""
    branch = _branch(addition)
    if branch is None:
        return False
    index, quantize, dequantize = branch
    addition.replace_input_with(index, quantize.inputs[0])
    remove_unread(view, quantize, dequantize)
    return True


def _branch(addition: ir.Node) -> tuple[int, ir.Node, ir.Node] | None:
    """Return the input to leave in float, its quantizer and its dequantizer: the layer that only the sum needs.

    Of two such layers it is the second input, which in a residual block is the longer branch as a rule.
    """
    found = None
    for index, value in enumerate(addition.inputs):
        dequantize = dequantizer(value)
        if dequantize is None:
            return None
        quantize = producer(dequantize.inputs[0], "QuantizeLinear")
        layer = None if quantize is None else producer(quantize.inputs[0], *LAYERS)
        if layer is None or quantize is None:
            continue
        chain = ((layer, quantize), (quantize, dequantize), (dequantize, addition))
        if all(only_reader(first.outputs[0]) is second for first, second in chain):
            found = (index, quantize, dequantize)
    return found


RULE = Rule(
    "EKL106",
    "both inputs of a residual addition quantized",
    Severity.WARNING,
    TENSORRT,
    "TensorRT adds inside the convolution when only the other, identity input is quantized; a pair on the "
    "convolution's side makes the sum a kernel of its own",
    "leave the convolution's side of the sum in float",
    check,
    fix,
    "one rounding fewer before the sum",
)
