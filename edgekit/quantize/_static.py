"""Static quantization: a plan becomes a graph."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgekit.quantize._graph import editable
from edgekit.quantize._plan import Plan
from edgekit.quantize.lower import qdq_cpu
from edgekit.quantize.passes import canonicalise
from edgekit.spec import Note


def quantize_static(model: onnx.ModelProto, plan: Plan) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Write the Q/DQ graph that onnxruntime runs in int8 on a CPU, as `plan` decided.

    Args:
        model: The FP32 model that the plan was made for.
        plan: What `plan` returned; a later step may have changed its parameters.

    Returns:
        The quantized model (metadata, opset and dynamic axes as before) and what was done.

    Raises:
        QuantizationError: EK503 opset below 13, EK504 quantized already.
    """
    copy = editable(model)
    notes = canonicalise(copy.graph)
    notes += plan.notes
    notes += qdq_cpu.lower(copy.graph, plan.activations, plan.weights, plan.layers, plan.absorbed)
    return ir.to_proto(copy), notes
