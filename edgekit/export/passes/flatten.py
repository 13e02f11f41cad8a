"""Give the step from feature maps to the classifier its one form, Flatten.

Needs shapes. Changes Reshape and Squeeze from (N, ...) to (N, product of the rest), whatever constants
express it: a Flatten works for every batch size and exists in every opset.
"""

from __future__ import annotations

import math

import onnx
from onnx import ModelProto

from edgekit.export._graph import dimensions
from edgekit.export._notes import counted
from edgekit.export.passes._pass import copy_of
from edgekit.spec import Note

name = "flatten"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with Reshape and Squeeze to rank 2 as Flatten."""
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    shapes = {value.name: dimensions(value) for value in values}
    result = copy_of(model)
    count = 0
    for node in result.graph.node:
        if node.op_type not in {"Reshape", "Squeeze"} or not _flattens(
            shapes.get(node.input[0]), shapes.get(node.output[0])
        ):
            continue
        node.op_type = "Flatten"
        del node.input[1:], node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("axis", 1))
        count += 1
    return result, counted(count, "turned {} Reshape or Squeeze into Flatten")


def _flattens(before: tuple[int | str, ...] | None, after: tuple[int | str, ...] | None) -> bool:
    if before is None or after is None or len(before) < 2 or len(after) != 2:
        return False
    rest = [axis for axis in before[1:] if isinstance(axis, int) and axis > 0]
    # As many elements before as after, and equal rows, leave only one way to number the rows.
    return len(rest) == len(before) - 1 and after[1] == math.prod(rest)
