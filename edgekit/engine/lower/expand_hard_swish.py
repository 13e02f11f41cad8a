"""Write hard-swish as x · clip(x + 3, 0, 6) / 6, for parsers without HardSwish.

Needs nothing. Changes each HardSwish into Add, Clip, Mul and Mul (Howard et al. 2019, arXiv 1905.02244, section 5.2);
the parser of TensorRT 8.2 knows all of them and fuses what follows one another elementwise.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgekit.spec import Note

name = "expand_hard_swish"
_CONSTANTS = {"three": 3.0, "zero": 0.0, "six": 6.0, "sixth": 1 / 6}


def apply(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Return the model without HardSwish."""
    count = sum(node.op_type == "HardSwish" for node in model.graph.node)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if not count:
        return result, ()
    nodes = [part for node in model.graph.node for part in (_parts(node) if node.op_type == "HardSwish" else [node])]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    for key, value in _CONSTANTS.items():
        result.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), _constant(key)))
    return onnx.shape_inference.infer_shapes(result), (Note(name, f"wrote {count} HardSwish as x · clip(x + 3) / 6"),)


def _constant(key: str) -> str:
    return f"hard_swish_{key}"


def _parts(node: NodeProto) -> list[NodeProto]:
    source, target = node.input[0], node.output[0]
    shifted, clipped, gate = (f"{target}_{part}" for part in ("shifted", "clipped", "gate"))
    layer = node.name or target
    return [
        helper.make_node("Add", [source, _constant("three")], [shifted], f"{layer}/Add"),
        helper.make_node("Clip", [shifted, _constant("zero"), _constant("six")], [clipped], f"{layer}/Clip"),
        helper.make_node("Mul", [clipped, _constant("sixth")], [gate], f"{layer}/Scale"),
        helper.make_node("Mul", [source, gate], [target], f"{layer}/Mul"),
    ]
