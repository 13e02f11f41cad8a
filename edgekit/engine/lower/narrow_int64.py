"""Keep INT64 constants within INT32.

Needs nothing. TensorRT before 10 casts INT64 to INT32 and clamps, with a warning at most. Changes ends of a Slice that
mean "to the end" into the largest INT32, which means the same; any other constant that does not fit is refused here
instead of being clamped there.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgekit.errors import TargetError
from edgekit.spec import Note

name = "narrow_int64"
_LIMITS = np.iinfo(np.int32)


def apply(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Return the model with every INT64 constant inside INT32.

    Raises:
        TargetError: EK702 when one does not fit and is no end of a Slice.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    ends = {name for node in model.graph.node if node.op_type == "Slice" for name in node.input[1:3]}
    changed = 0
    for tensor in result.graph.initializer:
        if tensor.data_type != TensorProto.INT64:
            continue
        values = numpy_helper.to_array(tensor)
        narrowed = np.clip(values, _LIMITS.min, _LIMITS.max)
        if (narrowed == values).all():
            continue
        if tensor.name not in ends:
            raise TargetError(
                "EK702",
                "the constant does not fit into INT32, and the target has no INT64",
                where=tensor.name,
                hint="choose a target with TensorRT 10 or newer, or change the model",
            )
        tensor.CopyFrom(numpy_helper.from_array(narrowed, tensor.name))
        changed += 1
    return result, (Note(name, f"{changed} ends of Slice fit into INT32 now"),) if changed else ()
