"""EKL105: integers that are dequantized and at once quantized again."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.quantize._graph import only_reader
from edgekit.quantize.lint._edit import remove_unread, replace_reads
from edgekit.quantize.lint._rule import ALL, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, dequantizer, label, producer, same_parameters, stored


def check(view: View, target: str) -> Iterator[Fault]:
    """Find QuantizeLinear nodes that read a DequantizeLinear."""
    for node in view.quantizers():
        before = dequantizer(node.inputs[0])
        if before is not None and stored(before) is None:
            how = "with the same scale" if same_parameters(before, node) else "with another scale"
            what = f"{label(node)} quantizes what {label(before)} has just dequantized, {how}"
            yield Fault(label(node), what, fixable=_is_fixable(node, before))


def fix(view: View, node: ir.Node) -> bool:
    """Leave out both conversions where they undo each other, else the first rounding."""
    before = dequantizer(node.inputs[0]) if node.op_type == "QuantizeLinear" else None
    if before is None or not _is_fixable(node, before):
        return False
    integers = before.inputs[0]
    if integers is None:
        return False
    if same_parameters(before, node):
        replace_reads(node.outputs[0], integers)
        remove_unread(view, before, node)
        return True
    quantize = producer(integers, "QuantizeLinear")
    if quantize is None:
        return False
    node.replace_input_with(0, quantize.inputs[0])
    remove_unread(view, quantize, before)
    return True


def _is_fixable(node: ir.Node, before: ir.Node) -> bool:
    if node.outputs[0].is_graph_output():
        return False
    if same_parameters(before, node):
        return True
    # With another reader the first rounding is needed all the same, and the layer before would get two quantizers.
    quantize = producer(before.inputs[0], "QuantizeLinear")
    return (
        quantize is not None and only_reader(quantize.outputs[0]) is before and only_reader(before.outputs[0]) is node
    )


RULE = Rule(
    "EKL105",
    "integers dequantized and quantized again",
    Severity.WARNING,
    ALL,
    "the tensor is rounded twice, and the conversion runs as a step of its own",
    "keep one pair, with the scale that the reader wants",
    check,
    fix,
    "nothing where both have one scale; else one rounding fewer",
)
