"""Store weights and compute in FP16, for a TensorRT that takes the precision from the file.

Needs an FP32 model without Q/DQ. Changes every float32 tensor but the input and the output to float16, with
onnxruntime's own converter, which cuts values beyond what float16 holds to its largest.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from edgekit.spec import Note

name = "to_float16"


def apply(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Return the model in FP16 with float32 input and output."""
    # Imported when needed: it brings sympy, and `check` starts a process that imports this package each time.
    import onnx_ir as ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    given = onnx.ModelProto()
    given.CopyFrom(model)
    converted = ir.from_proto(convert_float_to_float16(given, keep_io_types=True))
    # The converter puts its casts at the end.
    converted.graph.sort()
    result = ir.to_proto(converted)
    floats = [tensor for tensor in result.graph.initializer if tensor.data_type == TensorProto.FLOAT]
    halves = sum(tensor.data_type == TensorProto.FLOAT16 for tensor in result.graph.initializer)
    return result, (Note(name, f"{halves} constants are FP16, {len(floats)} stayed FP32"),)
