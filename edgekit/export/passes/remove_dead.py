"""Remove what does nothing: Identity, Dropout, Constant, unread nodes and weights, unused opset imports.

Needs a model without functions of its own. Constants become initializers, equal small ones become one; texts
that exporters leave on nodes go too.
"""

from __future__ import annotations

from onnx import ModelProto

from edgekit.export._graph import STANDARD_DOMAINS
from edgekit.export._notes import counted
from edgekit.export.passes._pass import copy_of, count_nodes
from edgekit.spec import Note

name = "remove-dead"

SMALL = 16
"""Elements up to which equal constants become one: the limits of a Clip, not the weights of a layer."""


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model without nodes that do nothing."""
    import onnx_ir
    from onnx_ir.passes import common

    converted = onnx_ir.from_proto(_dropout_to_identity(model))
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(converted)
    common.IdentityEliminationPass()(converted)
    common.DeduplicateInitializersPass(size_limit=SMALL)(converted)
    common.RemoveUnusedNodesPass()(converted)
    common.RemoveUnusedOpsetsPass()(converted)
    common.ClearMetadataAndDocStringPass()(converted)
    result = onnx_ir.to_proto(converted)
    removed = count_nodes(model, "Identity", "Dropout") - count_nodes(result, "Identity", "Dropout")
    return result, counted(removed, "removed {} Identity and Dropout")


def _dropout_to_identity(model: ModelProto) -> ModelProto:
    """Turn each Dropout whose mask nobody reads into Identity: edgekit's models infer, they do not train."""
    result = copy_of(model)
    read = {value for node in result.graph.node for value in node.input} | {value.name for value in result.graph.output}
    for node in result.graph.node:
        if node.op_type != "Dropout" or node.domain not in STANDARD_DOMAINS or read & set(node.output[1:]):
            continue
        node.op_type = "Identity"
        del node.attribute[:], node.input[1:], node.output[1:]
    return result
