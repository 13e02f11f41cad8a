"""Dynamic quantization: linear layers only, because that is where it pays."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from edgekit.errors import QuantizationError
from edgekit.quantize._graph import BOOKKEEPING, MOVES, editable, node_name
from edgekit.quantize._layers import WEIGHTED, why_not_weighted
from edgekit.quantize.lower import dynamic_cpu
from edgekit.quantize.passes import canonicalise
from edgekit.spec import LayerDecision, Note, Precision

LINEAR = ("MatMul", "Gemm")


def quantize_dynamic(
    model: onnx.ModelProto, operators: Sequence[str] = LINEAR, *, guard_pairs: bool = False
) -> tuple[onnx.ModelProto, tuple[Note, ...], tuple[LayerDecision, ...]]:
    """Give linear layers int8 weights, and quantize what they read anew for every input.

    No calibration is needed.

    Args:
        model: FP32 model.
        operators: `MatMul`, `Gemm` or both.
        guard_pairs: Keep neighbouring weights so small that a processor without VNNI does not saturate.

    Returns:
        The quantized model (metadata, opset and dynamic axes as before), what was done, and the precision
        of every node that computes.

    Raises:
        QuantizationError: EK501 for any other operator, EK503 opset below 13, EK504 quantized already,
            EK505 no such layer with a constant weight.
    """
    _require_linear(operators)
    copy = editable(model)
    notes = canonicalise(copy.graph)
    layers = tuple(_decision(node, operators) for node in copy.graph if node.op_type not in MOVES | BOOKKEEPING)
    integer = {layer.node for layer in layers if layer.precision is Precision.INT8}
    if not integer:
        raise QuantizationError(
            "EK505",
            f"the model has no {' or '.join(operators)} with a constant float32 weight",
            hint="use --quantize static, which quantizes convolutions too",
        )
    notes += dynamic_cpu.lower(copy.graph, integer, guard_pairs=guard_pairs)
    return ir.to_proto(copy), notes, layers


def _require_linear(operators: Sequence[str]) -> None:
    for operator in operators:
        if operator in LINEAR:
            continue
        if operator == "Conv":
            raise QuantizationError(
                "EK501",
                "dynamic quantization of Conv is not offered: onnxruntime runs it as ConvInteger, "
                "which made MobileNetV2 twelve times slower than FP32 on x86",
                where=operator,
                hint="use --quantize static, which makes convolutions faster than FP32",
            )
        raise QuantizationError(
            "EK501",
            f"dynamic quantization knows {' and '.join(LINEAR)} only",
            where=operator,
            hint="leave it out, or use --quantize static",
        )


def _decision(node: ir.Node, operators: Sequence[str]) -> LayerDecision:
    why_not: str | None = "dynamic quantization is for linear layers only"
    if node.op_type == "Conv":
        why_not = "dynamic int8 convolutions (ConvInteger) are many times slower than float on x86"
    elif node.op_type in WEIGHTED:
        why_not = why_not_weighted(node) if node.op_type in operators else "it was not asked for"
    if why_not is None:
        reason = "int8 weights with a scale per output channel, uint8 activations measured for each input"
        return LayerDecision(node_name(node), node.op_type, Precision.INT8, reason)
    return LayerDecision(node_name(node), node.op_type, Precision.FLOAT, why_not)
