"""Turn a mean over height and width into GlobalAveragePool.

Needs shapes. Changes ReduceMean over axes 2 and 3 of a rank-4 value: runtimes have an int8 kernel for the
pool, not for the mean. A mean that drops the axes becomes a pool and a Flatten.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from edgekit.export._graph import dimensions
from edgekit.export._notes import counted
from edgekit.export.passes._pass import copy_of, layer_of
from edgekit.spec import Note

name = "pool"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with spatial means as GlobalAveragePool."""
    images = {
        value.name for value in (*model.graph.value_info, *model.graph.input) if len(dimensions(value) or ()) == 4
    }
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    result = copy_of(model)
    nodes: list[NodeProto] = []
    count = 0
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or node.input[0] not in images or _axes(node, constants) != {2, 3}:
            nodes.append(node)
            continue
        nodes.extend(_pooled(node))
        count += 1
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result, counted(count, "turned {} ReduceMean into GlobalAveragePool")


def _axes(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> set[int]:
    """Return the axes of a mean over a rank-4 value, counted from the front; since opset 18 an input."""
    axes = [axis for attribute in node.attribute if attribute.name == "axes" for axis in attribute.ints]
    if len(node.input) > 1 and node.input[1] in constants:
        axes = numpy_helper.to_array(constants[node.input[1]]).reshape(-1).tolist()
    return {axis % 4 for axis in axes}


def _pooled(node: NodeProto) -> list[NodeProto]:
    layer = layer_of(node.name)
    prefix = f"{layer}/" if layer else ""
    keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
    means = node.output[0] if keeps else f"{node.output[0]}_pooled"
    pool = onnx.helper.make_node("GlobalAveragePool", [node.input[0]], [means], f"{prefix}GlobalAveragePool")
    if keeps:
        return [pool]
    return [pool, onnx.helper.make_node("Flatten", [means], [node.output[0]], f"{prefix}Flatten", axis=1)]
