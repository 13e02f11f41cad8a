"""Q/DQ for onnxruntime on a CPU: uint8 asymmetric activations, int8 weights per channel, int32 bias.

Each activation gets one QuantizeLinear and one DequantizeLinear, whoever reads it. Behind an int8 node
everybody reads the dequantized value, because no other exists; behind a float node only int8 nodes do, and
float nodes and outputs keep the float value, which costs nothing and loses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from edgekit.quantize._graph import MOVES, drop_unused_constants, given, name_of
from edgekit.quantize._layers import WEIGHTED
from edgekit.quantize._plan import Plan
from edgekit.quantize.lower._writer import Writer
from edgekit.spec import Note, Precision, QuantizationParameters


def lower(graph: ir.Graph, plan: Plan) -> tuple[Note, ...]:
    """Insert Q/DQ into a canonical FP32 graph, in place, and return what was done."""
    _remove_absorbed(graph, plan.absorbed)
    integer = {layer.node for layer in plan.layers if layer.precision is Precision.INT8}
    writer = Writer(graph, plan)
    integer_nodes = _integer_nodes(graph, integer, plan.activations)
    weighted = [node for node in graph if node.name in integer and node.op_type in WEIGHTED]
    for node in weighted:
        writer.quantize_bias(node)
        writer.quantize_weight(node)
    for value in _tensors(graph, plan.activations):
        _quantize(graph, writer, value, integer_nodes)
    drop_unused_constants(graph)
    return (
        Note("absorb", f"{len(plan.absorbed)} Relu and Clip nodes were absorbed into the scale of what they wrote"),
        Note("qdq_cpu", f"{len(plan.activations)} activations are uint8, the weights of {len(weighted)} layers int8"),
    )


def _remove_absorbed(graph: ir.Graph, absorbed: Collection[str]) -> None:
    for node in list(graph):
        if node.name not in absorbed:
            continue
        source, output = given(node.inputs[0]), node.outputs[0]
        name = output.name
        output.replace_all_uses_with(source, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        source.name = name


def _tensors(graph: ir.Graph, activations: Mapping[str, QuantizationParameters]) -> list[ir.Value]:
    values = [*graph.inputs, *(output for node in graph for output in node.outputs)]
    return [value for value in values if value.name in activations]


def _integer_nodes(
    graph: ir.Graph, integer: Collection[str], activations: Mapping[str, QuantizationParameters]
) -> set[ir.Node]:
    """Nodes that run in int8, and those that only move integers from one quantized tensor to another."""

    def moves_integers(node: ir.Node) -> bool:
        ends = (node.inputs[0], node.outputs[0])
        return all(end is not None and end.name in activations for end in ends)

    return {node for node in graph if node.name in integer or (node.op_type in MOVES and moves_integers(node))}


def _quantize(graph: ir.Graph, writer: Writer, value: ir.Value, integer: Collection[ir.Node]) -> None:
    """Put Q and DQ behind `value`, before those who read it as integers."""
    from_integer = value.producer() in integer
    readers = [use for use in value.uses() if from_integer or use.node in integer]
    name, is_output = name_of(value), value.is_graph_output()
    dequantized = writer.quantize(value)
    for use in readers:
        use.node.replace_input_with(use.idx, dequantized)
    if from_integer and is_output:
        value.name = writer.new_name(f"{name}_float")
        dequantized.name = name
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = dequantized
