"""Fold BatchNormalization into the Conv or Gemm before it.

Needs weights as initializers. W' = W · γ / √(σ² + ε), b' = (b - μ) · γ / √(σ² + ε) + β. A normalisation in
training mode, or after something else, stays.
"""

from __future__ import annotations

from onnx import ModelProto

from edgekit.export._notes import counted
from edgekit.export.passes._pass import count_nodes, rewrite
from edgekit.spec import Note

name = "fold-batch-norm"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with BatchNormalization folded wherever that is exact."""
    from onnxscript.rewriter.rules.common import fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule

    if not count_nodes(model, "BatchNormalization") or _trains(model):
        return model, ()
    result = rewrite(model, [fuse_batchnorm_into_conv_rule, fuse_batchnorm_into_gemm_rule])
    count = count_nodes(model, "BatchNormalization") - count_nodes(result, "BatchNormalization")
    return result, counted(count, "folded {} BatchNormalization into Conv")


def _trains(model: ModelProto) -> bool:
    return any(
        node.op_type == "BatchNormalization" and attribute.name == "training_mode" and attribute.i
        for node in model.graph.node
        for attribute in node.attribute
    )
