"""Give the input and the output a batch of one.

Needs a graph whose first axis is the batch. Changes the symbolic batch of input, output and inner tensors into 1: an
engine for one frame at a time needs no optimization profile then, and an old parser meets no dynamic shape.
"""

from __future__ import annotations

import onnx

from edgekit.spec import Note

name = "fix_batch"


def apply(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Return the model for one frame at a time."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    batch = result.graph.input[0].type.tensor_type.shape.dim[0]
    if batch.dim_value:
        return result, ()
    symbol = batch.dim_param
    for value in (*result.graph.input, *result.graph.output):
        _fix(value, symbol)
    del result.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(result), (Note(name, "the batch is 1"),)


def _fix(value: onnx.ValueInfoProto, symbol: str) -> None:
    dims = value.type.tensor_type.shape.dim
    for axis, dim in enumerate(dims):
        if not dim.dim_value and (dim.dim_param == symbol or axis == 0):
            dim.Clear()
            dim.dim_value = 1
