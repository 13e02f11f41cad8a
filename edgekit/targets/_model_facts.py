"""What a plan needs to know of an ONNX model, and no more."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_QUANTIZE = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """An ONNX model as a plan sees it.

    Attributes:
        opset: Version of the standard operators.
        operators: Types of its nodes.
        has_int64: INT64 constants occur.
        quantized: It has Q/DQ nodes or integer operators.
        symmetric: Every zero point of its Q/DQ nodes is an int8 0, and none of them feeds an int32 bias: the form
            that TensorRT reads. True when there are none.
    """

    opset: int
    operators: frozenset[str]
    has_int64: bool = False
    quantized: bool = False
    symmetric: bool = True


def facts_of(model: onnx.ModelProto) -> ModelFacts:
    """Return the facts of a model; weights are looked at for their types only."""
    from onnx import TensorProto

    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    operators = frozenset(node.op_type for node in model.graph.node)
    int64 = any(tensor.data_type == TensorProto.INT64 for tensor in model.graph.initializer)
    quantized = bool(operators & (_QUANTIZE | INTEGER_OPERATORS))
    return ModelFacts(opset, operators, int64, quantized, not operators & INTEGER_OPERATORS and _is_symmetric(model))


# None of them is in any parser of TensorRT.
INTEGER_OPERATORS = frozenset(
    {"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QLinearAdd"}
)


def _is_symmetric(model: onnx.ModelProto) -> bool:
    from onnx import TensorProto, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in _QUANTIZE:
            continue
        zero_point = constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero_point is None:
            continue
        if zero_point.data_type != TensorProto.INT8 or numpy_helper.to_array(zero_point).any():
            return False
    return True
