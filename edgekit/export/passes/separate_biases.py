"""Give every Conv and Gemm a bias of its own.

Needs weights as initializers. torch and onnxsim store equal tensors once, and fresh models have many equal
biases; a quantized bias has the scale of its layer, so a shared one cannot be right for two layers. Copies
cost one number a channel.
"""

from __future__ import annotations

from onnx import ModelProto, TensorProto

from edgekit.export.passes._pass import copy_of
from edgekit.spec import Note

name = "separate-biases"

BIAS = 2
"""Position of the bias among the inputs of Conv and Gemm."""


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model in which no two layers read the same bias."""
    result = copy_of(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    taken: set[str] = set()
    for node in result.graph.node:
        if node.op_type not in {"Conv", "Gemm"} or len(node.input) <= BIAS or node.input[BIAS] not in constants:
            continue
        old = node.input[BIAS]
        if old not in taken:
            taken.add(old)
            continue
        copy = TensorProto()
        copy.CopyFrom(constants[old])
        copy.name = _free(f"{node.output[0]}_bias", constants)
        node.input[BIAS] = copy.name
        result.graph.initializer.append(copy)
        constants[copy.name] = copy
    return result, ()


def _free(wanted: str, used: dict[str, TensorProto]) -> str:
    return wanted if wanted not in used else _free(f"{wanted}_", used)
