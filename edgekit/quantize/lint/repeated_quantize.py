"""EKL104: one tensor quantized several times in the same way."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.quantize.lint._edit import remove_unread, replace_reads
from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, label, readers, same_parameters


def check(view: View, target: str) -> Iterator[Fault]:
    """Find every QuantizeLinear but the first of those that do the same to a tensor."""
    for node in view.quantizers():
        first = _first_alike(node)
        if first is not None:
            what = f"{label(node)} does what {label(first)} does to the same tensor"
            yield Fault(label(node), what, fixable=not node.outputs[0].is_graph_output())


def fix(view: View, node: ir.Node) -> bool:
    """Let who reads the second read the first."""
    first = _first_alike(node)
    if first is None or node.outputs[0].is_graph_output():
        return False
    _move_behind_source(view, first)
    replace_reads(node.outputs[0], first.outputs[0])
    remove_unread(view, node)
    return True


def _first_alike(node: ir.Node) -> ir.Node | None:
    source = node.inputs[0]
    if node.op_type != "QuantizeLinear" or source is None:
        return None
    alike = [other for other in readers(source) if other.op_type == "QuantizeLinear" and same_parameters(node, other)]
    return alike[0] if alike and alike[0] is not node else None


def _move_behind_source(view: View, node: ir.Node) -> None:
    """Put a node before everything that could read it."""
    source = node.inputs[0]
    maker = None if source is None else source.producer()
    view.graph.remove(node)
    if maker is None:
        view.graph.insert_before(view.graph[0], node)
    else:
        view.graph.insert_after(maker, node)


RULE = Rule(
    "EKL104",
    "tensor quantized several times",
    Severity.WARNING,
    CPU,
    "onnxruntime fuses a layer with the one QuantizeLinear behind it; with several the layer stays in float",
    "quantize the tensor once and let all read that",
    check,
    fix,
    "nothing",
)
