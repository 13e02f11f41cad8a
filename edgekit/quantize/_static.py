"""Static quantization: a plan becomes a graph."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgekit.quantize._graph import editable
from edgekit.quantize._plan import Plan
from edgekit.quantize.lower import qdq_cpu, qdq_tensorrt
from edgekit.quantize.passes import canonicalise
from edgekit.spec import Note


def quantize_static(model: onnx.ModelProto, plan: Plan) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Write the Q/DQ graph of the plan's flavour.

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
    lower = qdq_cpu.lower if plan.flavour.absorbs else qdq_tensorrt.lower
    notes += lower(copy.graph, plan)
    return ir.to_proto(copy), notes
