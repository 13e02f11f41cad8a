"""The shape of a pass, and what several passes share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from onnx import ModelProto, NodeProto

from edgekit.spec import Note

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule


class Pass(Protocol):
    """A change of the graph that keeps what the model computes."""

    @property
    def name(self) -> str:
        """Name for messages."""

    def apply(self, model: ModelProto, /) -> tuple[ModelProto, tuple[Note, ...]]:
        """Return the changed model, and notes that a user can read."""


def copy_of(model: ModelProto) -> ModelProto:
    """Return a copy that a pass may change."""
    result = ModelProto()
    result.CopyFrom(model)
    return result


def count_nodes(model: ModelProto, *operators: str) -> int:
    """Return how many nodes of the main graph have one of these operators."""
    return sum(node.op_type in operators for node in model.graph.node)


def layer_of(node_name: str) -> str:
    """Return the layer part of a node name: `features.3.0` of `features.3.0/Conv`, "" when there is none."""
    return node_name.rpartition("/")[0]


def rewrite(model: ModelProto, rules: Iterable[RewriteRule]) -> ModelProto:
    """Apply onnxscript rewrite rules and return the new model.

    Rules may leave the nodes that they make without a name. A node that stands for a Conv and what followed
    it is still that Conv and keeps its name; a node of a new kind gets the name of the layer that it stands
    for.
    """
    import onnx_ir
    from onnxscript.rewriter import RewriteRuleSet

    converted = onnx_ir.from_proto(model)
    RewriteRuleSet(list(rules)).apply_to_model(converted)
    result = onnx_ir.to_proto(converted)
    producers = {output: node for node in model.graph.node for output in node.output}
    known = {node.name for node in model.graph.node}
    for node in result.graph.node:
        if not node.name or node.name not in known:
            node.name = _name_of_replacement(node, producers)
    return result


def _name_of_replacement(node: NodeProto, producers: dict[str, NodeProto]) -> str:
    replaced = producers.get(node.output[0])
    if replaced is None:
        return node.name
    before = producers.get(replaced.input[0]) if replaced.input else None
    for candidate in (replaced, before):
        if candidate is not None and candidate.op_type == node.op_type:
            return candidate.name
    layer = layer_of(replaced.name)
    return f"{layer}/{node.op_type}" if layer else ""
