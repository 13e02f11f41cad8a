"""A linear layer written as MatMul and Add."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.quantize._graph import float_constant, node_name, only_reader, take_place
from edgekit.spec import Note


def merge_bias(graph: ir.Graph) -> tuple[Note, ...]:
    """Rewrite a MatMul by a constant and the Add of a constant behind it as one Gemm.

    Needs: constants are settled, and the rank of the MatMul's input is known to be 2. Ensures: the bias is
    added in int32 by the layer, not in float behind it. The Gemm keeps the name of the MatMul.
    """
    merged = []
    for node in list(graph):
        addition = only_reader(node.outputs[0]) if node.op_type == "MatMul" else None
        if addition is None or addition.op_type != "Add" or not _is_plain_layer(node):
            continue
        bias = next(value for value in addition.inputs if value is not node.outputs[0])
        array = float_constant(bias)
        weight = float_constant(node.inputs[1])
        if array is None or weight is None or array.shape != (weight.shape[1],):
            continue
        layer = ir.node("Gemm", [*node.inputs, bias], name=node_name(node))
        graph.insert_before(addition, layer)
        merged.append((node_name(node), node_name(addition)))
        take_place(graph, addition, layer.outputs[0])
        graph.remove(node, safe=True)
    return tuple(Note("merge_bias", f"{layer} and its bias {bias} are now one Gemm") for layer, bias in merged)


def _is_plain_layer(node: ir.Node) -> bool:
    source, weight = node.inputs[0], float_constant(node.inputs[1])
    has_rank_2 = source is not None and source.shape is not None and source.shape.rank() == 2
    return has_rank_2 and weight is not None and weight.ndim == 2
