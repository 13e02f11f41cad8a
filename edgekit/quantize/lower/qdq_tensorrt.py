"""Q/DQ for TensorRT: int8 symmetric activations, zero points that are there and 0, float biases.

What TensorRT's parser accepts and its optimizer fuses (developer guide, "Working with quantized types"): only what
a layer reads is quantized, a Relu or Clip stays directly behind its convolution, of a residual Add the identity alone
goes through Q/DQ, every reader has a pair of its own, and the last linear layer writes float.
TensorRT 8 wants float weights before Q and DQ; from 10 on, int8 weights before DQ do, in a quarter of the bytes.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.quantize._graph import drop_unused_constants, name_of, node_name
from edgekit.quantize._layers import WEIGHTED, quantized_inputs
from edgekit.quantize._plan import Plan
from edgekit.quantize.lower._writer import Writer
from edgekit.spec import Note, Precision


def lower(graph: ir.Graph, plan: Plan) -> tuple[Note, ...]:
    """Insert Q/DQ into a canonical FP32 graph, in place, and return what was done."""
    integer = {layer.node for layer in plan.layers if layer.precision is Precision.INT8}
    nodes = [node for node in graph if node.name in integer and node.op_type not in {"Relu", "Clip"}]
    writer = Writer(graph, plan)
    pairs: dict[str, int] = {}
    weighted = 0
    for node in nodes:
        for value in quantized_inputs(node):
            count = pairs.get(name_of(value), 0)
            pairs[name_of(value)] = count + 1
            dequantized = writer.quantize(value, f"_for_{node_name(node)}" if count else "")
            for index, read in enumerate(node.inputs):
                if read is value:
                    node.replace_input_with(index, dequantized)
        if node.op_type in WEIGHTED:
            writer.quantize_bias(node)
            writer.quantize_weight(node)
            weighted += 1
    drop_unused_constants(graph)
    return (
        Note(
            "qdq_tensorrt",
            f"{len(pairs)} activations are int8 around zero, the weights of {weighted} layers int8; "
            "activations stay behind their convolutions, which TensorRT fuses",
        ),
    )
