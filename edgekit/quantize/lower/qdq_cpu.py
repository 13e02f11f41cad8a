"""Q/DQ for onnxruntime on a CPU: uint8 asymmetric activations, int8 weights per channel, int32 bias.

Each activation gets one QuantizeLinear and one DequantizeLinear, whoever reads it. Behind an int8 node
everybody reads the dequantized value, because no other exists; behind a float node only int8 nodes do, and
float nodes and outputs keep the float value, which costs nothing and loses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import (
    MOVES,
    Names,
    add_constant,
    drop_unused_constants,
    given,
    name_of,
    node_name,
)
from edgekit.quantize._layers import WEIGHTED, bias_of, weight_of
from edgekit.quantize._parameters import bias_scale, quantized_bias, quantized_weight
from edgekit.spec import LayerDecision, Note, Precision, QuantizationParameters


def lower(
    graph: ir.Graph,
    activations: Mapping[str, QuantizationParameters],
    weights: Mapping[str, QuantizationParameters],
    layers: Sequence[LayerDecision],
    absorbed: Collection[str],
) -> tuple[Note, ...]:
    """Insert Q/DQ into a canonical FP32 graph, in place, and return what was done.

    Args:
        graph: Graph in the form that the decisions were made on.
        activations: Parameters by tensor, uint8 per tensor.
        weights: Parameters by initializer, int8 per channel.
        layers: Precision of the nodes.
        absorbed: Names of the Relu and Clip nodes to remove.
    """
    _remove_absorbed(graph, absorbed)
    integer = {layer.node for layer in layers if layer.precision is Precision.INT8}
    writer = _Writer(graph)
    integer_nodes = _integer_nodes(graph, integer, activations)
    weighted = [node for node in graph if node.name in integer and node.op_type in WEIGHTED]
    for node in weighted:
        writer.quantize_weights(node, activations, weights)
    for value in _tensors(graph, activations):
        writer.quantize_activation(value, activations[name_of(value)], integer_nodes)
    drop_unused_constants(graph)
    return (
        Note("absorb", f"{len(absorbed)} Relu and Clip nodes were absorbed into the scale of what they wrote"),
        Note("qdq_cpu", f"{len(activations)} activations are uint8, the weights of {len(weighted)} layers int8"),
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


class _Writer:
    """Adds Q/DQ nodes and their constants to one graph."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._names = Names(graph)
        self._weights: dict[str, ir.Value] = {}

    def quantize_activation(
        self, value: ir.Value, parameters: QuantizationParameters, integer: Collection[ir.Node]
    ) -> None:
        """Put Q and DQ behind `value`, before those who read it as integers."""
        producer = value.producer()
        from_integer = producer in integer
        readers = [use for use in value.uses() if from_integer or use.node in integer]
        name = name_of(value)
        if from_integer and value.is_graph_output():
            value.name = self._names.new(f"{name}_float")
        scale = add_constant(self._graph, self._names, f"{name}_scale", np.float32(parameters.scale[0]))
        zero_point = add_constant(self._graph, self._names, f"{name}_zero_point", np.uint8(parameters.zero_point[0]))
        quantize = ir.node("QuantizeLinear", [value, scale, zero_point], name=self._names.new(f"{name}_QuantizeLinear"))
        quantized = quantize.outputs[0]
        quantized.name = self._names.new(f"{name}_quantized")
        quantized.type, quantized.shape = ir.TensorType(ir.DataType.UINT8), value.shape
        dequantize = self._dequantize(name, quantized, scale, zero_point)
        dequantize.outputs[0].shape = value.shape
        if producer is None:
            self._graph.insert_before(self._graph[0], [quantize, dequantize])
        else:
            self._graph.insert_after(producer, [quantize, dequantize])
        for use in readers:
            use.node.replace_input_with(use.idx, dequantize.outputs[0])
        if from_integer and value.is_graph_output():
            dequantize.outputs[0].name = name
            for index, output in enumerate(self._graph.outputs):
                if output is value:
                    self._graph.outputs[index] = dequantize.outputs[0]

    def quantize_weights(
        self,
        node: ir.Node,
        activations: Mapping[str, QuantizationParameters],
        weights: Mapping[str, QuantizationParameters],
    ) -> None:
        """Replace the weight and bias of a layer by integers and DQ."""
        name = name_of(given(node.inputs[1]))
        parameters = weights[name]
        (input_scale,) = activations[name_of(given(node.inputs[0]))].scale
        bias = bias_of(node)
        if name not in self._weights:
            self._weights[name] = self._dequantized_weight(node, name, parameters)
        if bias is not None:
            node.replace_input_with(2, self._dequantized_bias(node, bias, parameters, input_scale))
        node.replace_input_with(1, self._weights[name])

    def _dequantized_weight(self, node: ir.Node, name: str, parameters: QuantizationParameters) -> ir.Value:
        integers = add_constant(
            self._graph, self._names, f"{name}_quantized", quantized_weight(weight_of(node), parameters)
        )
        scale = add_constant(self._graph, self._names, f"{name}_scale", np.asarray(parameters.scale, np.float32))
        zero_point = add_constant(
            self._graph, self._names, f"{name}_zero_point", np.asarray(parameters.zero_point, np.int8)
        )
        dequantize = self._dequantize(name, integers, scale, zero_point, axis=parameters.axis)
        self._graph.insert_before(node, dequantize)
        return dequantize.outputs[0]

    def _dequantized_bias(
        self, node: ir.Node, bias: np.ndarray, weight: QuantizationParameters, input_scale: float
    ) -> ir.Value:
        steps = bias_scale(weight, input_scale)
        name = f"{node_name(node)}_bias"
        integers = add_constant(self._graph, self._names, f"{name}_quantized", quantized_bias(bias, steps))
        scale = add_constant(self._graph, self._names, f"{name}_scale", steps)
        zero_point = add_constant(self._graph, self._names, f"{name}_zero_point", np.zeros(steps.size, np.int32))
        dequantize = self._dequantize(name, integers, scale, zero_point, axis=0)
        self._graph.insert_before(node, dequantize)
        return dequantize.outputs[0]

    def _dequantize(
        self, name: str, integers: ir.Value, scale: ir.Value, zero_point: ir.Value, *, axis: int | None = None
    ) -> ir.Node:
        node = ir.node(
            "DequantizeLinear",
            [integers, scale, zero_point],
            {} if axis is None else {"axis": axis},
            name=self._names.new(f"{name}_DequantizeLinear"),
        )
        node.outputs[0].name = self._names.new(f"{name}_dequantized")
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        node.outputs[0].shape = integers.shape
        return node
