"""Write the type and shape of every value into the model, the batch axis as a symbol.

Needs a valid graph. Replaces `value_info` as a whole; old entries may describe values that passes have
changed.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto

from edgekit.export._graph import dimensions
from edgekit.export.passes._pass import copy_of
from edgekit.spec import Note

name = "infer-shapes"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with shapes for all values that onnx can tell."""
    bare = copy_of(model)
    del bare.graph.value_info[:]
    result = onnx.shape_inference.infer_shapes(bare, data_prop=True)
    # Shapes are what users and later stages read; nameless unknown axes of the output get their name from the
    # input.
    for value in result.graph.output:
        if (axes := dimensions(value)) and axes[0] == "" and (batch := _batch(result)):
            value.type.tensor_type.shape.dim[0].dim_param = batch
    return result, ()


def _batch(model: ModelProto) -> str:
    axes = dimensions(model.graph.input[0]) if model.graph.input else None
    return axes[0] if axes and isinstance(axes[0], str) else ""
