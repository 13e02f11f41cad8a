"""What the layers of an ONNX model cost, as an estimate needs it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgekit.targets._estimate import LayerCost

if TYPE_CHECKING:
    import onnx

_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})


def layer_costs(model: onnx.ModelProto) -> tuple[LayerCost, ...]:
    """Return the cost of each convolution and linear layer of a model for one image, in their order.

    Activations, additions and the like fuse into these in TensorRT, and are not counted.

    Args:
        model: A model with a batch of one; Q/DQ nodes do not matter.

    Raises:
        ValueError: The shape of a layer does not follow from the model's.
    """
    import onnx

    shapes = _shapes(onnx.shape_inference.infer_shapes(model).graph)
    return tuple(_cost(node, shapes) for node in model.graph.node if node.op_type in _LAYERS)


def _shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    known = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    return {**known, **{tensor.name: tuple(tensor.dims) for tensor in graph.initializer}}


def _cost(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> LayerCost:
    source, weight, target = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
    sizes = [math.prod(shape) if shape else 0 for shape in (source, weight, target)]
    if min(sizes) < 1:
        raise ValueError(f"the shapes of {node.name or node.output[0]} are not known")
    read, weights, written = sizes
    # Each output needs its filter once: of a convolution as many numbers as a filter has, of a product one column.
    per_output = math.prod(weight[1:]) if node.op_type == "Conv" else source[-1]
    return LayerCost(node.name or node.output[0], written * per_output, read, written, weights)
