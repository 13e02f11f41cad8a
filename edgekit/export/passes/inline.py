"""Replace calls of functions that the model defines itself by their bodies.

Needs nothing. Changes calls of local functions, and old models in which weights are inputs as well (IR
version 3).
"""

from __future__ import annotations

from onnx import ModelProto

from edgekit.export._notes import counted
from edgekit.spec import Note

name = "inline"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model without functions of its own, and with weights that are constants."""
    import onnx_ir
    from onnx_ir.passes import common

    functions = len(model.functions)
    converted = onnx_ir.from_proto(model)
    common.InlinePass()(converted)
    common.RemoveInitializersFromInputsPass()(converted)
    if converted.ir_version < 4:
        converted.ir_version = 4  # the first in which a weight need not be an input
    return onnx_ir.to_proto(converted), counted(functions, "inlined {} functions that the model defines itself")
