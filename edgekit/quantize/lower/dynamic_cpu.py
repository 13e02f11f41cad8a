"""Dynamic int8 for onnxruntime on a CPU, in the form that it fuses into one kernel (DynamicQuantizeMatMul).

y = float(MatMulInteger(quantize(x), W)) * (scale of x * scale of W) + bias
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import (
    Names,
    add_constant,
    drop_unused_constants,
    given,
    name_of,
    node_name,
    take_place,
)
from edgekit.quantize._layers import bias_of, weight_axis, weight_of
from edgekit.quantize._parameters import quantized_weight, weight_parameters
from edgekit.spec import Note


def lower(graph: ir.Graph, layers: Collection[str], *, guard_pairs: bool = False) -> tuple[Note, ...]:
    """Rewrite the named MatMul and Gemm nodes of an FP32 graph in place, and return what was done."""
    names = Names(graph)
    observed: dict[ir.Value, ir.Node] = {}
    for node in list(graph):
        if node.name in layers:
            _rewrite(graph, node, names, observed, guard_pairs)
    drop_unused_constants(graph)
    return (Note("dynamic_cpu", f"{len(layers)} linear layers have int8 weights"),)


def _rewrite(
    graph: ir.Graph, node: ir.Node, names: Names, observed: dict[ir.Value, ir.Node], guard_pairs: bool
) -> None:
    source, weight = given(node.inputs[0]), given(node.inputs[1])
    if source not in observed:
        observed[source] = _named(
            ir.node("DynamicQuantizeLinear", [source], num_outputs=3), f"{name_of(source)}_quantize", names
        )
        graph.insert_before(node, observed[source])
    integers, scale, zero_point = observed[source].outputs

    array, axis = weight_of(node), weight_axis(node)
    parameters = weight_parameters(array, axis, guard_pairs=guard_pairs)
    matrix = quantized_weight(array, parameters, guard_pairs=guard_pairs)
    name = name_of(weight)
    weight_integers = add_constant(graph, names, f"{name}_quantized", matrix.T if axis == 0 else matrix)
    weight_scale = add_constant(graph, names, f"{name}_scale", np.asarray(parameters.scale, np.float32))
    weight_zero = add_constant(graph, names, f"{name}_zero_point", np.zeros(len(parameters.scale), np.int8))

    def step(operator: str, inputs: list[ir.Value], suffix: str, **attributes: int) -> ir.Value:
        added = _named(ir.node(operator, inputs, attributes), f"{node_name(node)}_{suffix}", names)
        graph.insert_before(node, added)
        return added.outputs[0]

    total = step("MatMulInteger", [integers, weight_integers, zero_point, weight_zero], "integer")
    total = step("Cast", [total], "cast", to=int(ir.DataType.FLOAT))
    result = step("Mul", [total, step("Mul", [scale, weight_scale], "scale")], "scaled")
    bias = bias_of(node)
    if bias is not None:
        bias_value = add_constant(graph, names, f"{node_name(node)}_bias", bias)
        result = step("Add", [result, bias_value], "biased")
    take_place(graph, node, result)


def _named(node: ir.Node, name: str, names: Names) -> ir.Node:
    node.name = names.new(name)
    for index, output in enumerate(node.outputs):
        output.name = names.new(f"{name}_output" if index == 0 else f"{name}_output_{index}")
    return node
