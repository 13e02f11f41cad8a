"""Write hard-swish as x · HardSigmoid(x), for opsets before 14.

Needs nothing. Changes HardSwish into HardSigmoid(alpha = 1/6, beta = 1/2) and Mul, which is its definition
(ONNX operator specification, HardSwish).
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto

from edgekit.export._notes import counted
from edgekit.export.passes._pass import copy_of, count_nodes, layer_of
from edgekit.spec import Note

name = "expand-hard-swish"

FIRST_OPSET_WITH_HARD_SWISH = 14


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model without HardSwish."""
    result = copy_of(model)
    nodes = [part for node in model.graph.node for part in (_parts(node) if node.op_type == "HardSwish" else [node])]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result, counted(count_nodes(model, "HardSwish"), "wrote {} HardSwish as HardSigmoid and Mul")


def _parts(node: NodeProto) -> list[NodeProto]:
    layer = layer_of(node.name) or node.name
    source, target = node.input[0], node.output[0]
    gate = f"{target}_gate"
    return [
        onnx.helper.make_node("HardSigmoid", [source], [gate], f"{layer}/HardSigmoid", alpha=1 / 6, beta=0.5),
        onnx.helper.make_node("Mul", [source, gate], [target], f"{layer}/Mul"),
    ]
