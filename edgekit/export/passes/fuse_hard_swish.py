"""Gather the pieces of hard-swish and hard-sigmoid into the operators of that name.

Needs constants as initializers, and opset 14, where HardSwish came. Changes x · Clip(x + 3, 0, 6) / 6 and
x · HardSigmoid(x) into HardSwish(x), and Clip(x + 3, 0, 6) / 6 into HardSigmoid(x).
"""

from __future__ import annotations

from onnx import ModelProto

from edgekit.export._graph import opset_of
from edgekit.export._notes import counted
from edgekit.export.passes._pass import count_nodes, rewrite
from edgekit.export.passes.expand_hard_swish import FIRST_OPSET_WITH_HARD_SWISH
from edgekit.spec import Note

name = "fuse-hard-swish"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with HardSwish where its opset has it."""
    if opset_of(model) < FIRST_OPSET_WITH_HARD_SWISH:
        return model, ()
    from onnxscript.rewriter.rules.common import fuse_hardswish_rules

    result = rewrite(model, fuse_hardswish_rules())
    count = count_nodes(result, "HardSwish") - count_nodes(model, "HardSwish")
    return result, counted(count, "gathered {} HardSwish from their parts")
