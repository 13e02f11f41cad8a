"""Make zero padding part of the convolution that reads it.

Needs shapes and constant padding widths. Changes Pad followed by Conv, and Conv with `auto_pad`, into Conv
with explicit pads, which may differ left and right: this is how TensorFlow's SAME looks in ONNX.
"""

from __future__ import annotations

from onnx import ModelProto

from edgekit.export._notes import counted
from edgekit.export.passes._pass import count_nodes, rewrite
from edgekit.spec import Note

name = "fuse-pad"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with Pad folded into Conv wherever that is exact."""
    from onnxscript.rewriter.rules.common import fuse_pad_into_conv_rule, normalize_pad_format_conv_rule

    result = rewrite(model, [normalize_pad_format_conv_rule, fuse_pad_into_conv_rule])
    return result, counted(count_nodes(model, "Pad") - count_nodes(result, "Pad"), "fused {} Pad into Conv")
