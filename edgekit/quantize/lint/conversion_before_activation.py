"""EKL101: Q/DQ between a layer and its activation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from edgekit.quantize._graph import constant, only_reader
from edgekit.quantize.lint._edit import remove_unread, replace_reads
from edgekit.quantize.lint._rule import ALL, Fault, Rule, Severity
from edgekit.quantize.lint._view import LAYERS, View, dequantizer, label, operand, producer, readers, scale, zero_point


class Place(NamedTuple):
    """Layer → quantize → dequantize → activation, where nothing else reads what is between."""

    layer: ir.Node
    quantize: ir.Node
    dequantize: ir.Node


def check(view: View, target: str) -> Iterator[Fault]:
    """Find activations that read a layer through a Q/DQ pair."""
    for activation in view.nodes("Relu", "Clip"):
        found = place(activation)
        if found is not None:
            what = f"{label(activation)} reads {label(found.layer)} through {label(found.quantize)}"
            yield Fault(label(activation), what, fixable=_is_fixable(activation, found))


def fix(view: View, activation: ir.Node) -> bool:
    """Take the pair away where there is another behind the activation, else move it there."""
    found = place(activation)
    if found is None or not _is_fixable(activation, found):
        return False
    activation.replace_input_with(0, found.layer.outputs[0])
    output = activation.outputs[0]
    if _is_quantized(output):
        remove_unread(view, found.quantize, found.dequantize)
        return True
    replace_reads(output, found.dequantize.outputs[0])
    found.quantize.replace_input_with(0, output)
    for node in (found.quantize, found.dequantize):
        view.graph.remove(node)
    view.graph.insert_after(activation, [found.quantize, found.dequantize])
    return True


def place(activation: ir.Node) -> Place | None:
    """Return what is before an activation where it is a layer and a Q/DQ pair that nothing else reads."""
    dequantize = dequantizer(activation.inputs[0])
    quantize = None if dequantize is None else producer(dequantize.inputs[0], "QuantizeLinear")
    layer = None if quantize is None else producer(quantize.inputs[0], *LAYERS, "Add")
    if layer is None or quantize is None or dequantize is None:
        return None
    chain = ((layer, quantize), (quantize, dequantize), (dequantize, activation))
    alone = all(only_reader(first.outputs[0]) is second for first, second in chain)
    return Place(layer, quantize, dequantize) if alone else None


def _is_fixable(activation: ir.Node, found: Place) -> bool:
    """Whether the pair can go or move: the limits hold zero, so that zero stays zero, and no output is renamed."""
    output = activation.outputs[0]
    if scale(found.quantize) is None or zero_point(found.quantize) is None or not readers(output):
        return False
    if activation.op_type == "Clip":
        low = constant(operand(activation, 1))
        if low is None or float(low.reshape(())) > 0:
            return False
    return not output.is_graph_output()


def _is_quantized(value: ir.Value) -> bool:
    return all(node.op_type == "QuantizeLinear" for node in readers(value))


RULE = Rule(
    "EKL101",
    "Q/DQ between a layer and its activation",
    Severity.WARNING,
    ALL,
    "the activation cannot fuse with the layer: it runs in float between two conversions, and half of the integers are "
    "spent on values that it throws away",
    "quantize behind the activation only",
    check,
    fix,
    "one rounding fewer where the activation's output is quantized too; else nothing but the limits of a Clip, which "
    "move by up to half a step",
)
