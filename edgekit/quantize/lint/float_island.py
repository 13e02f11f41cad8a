"""EKL102: operators in float between integers."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.quantize._graph import BOOKKEEPING, MOVES, constant
from edgekit.quantize.lint import conversion_before_activation
from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import CONVERSIONS, LAYERS, View, dequantizer, label, moved_from, readers
from edgekit.spec import Precision

_NAMED = 4


def check(view: View, target: str) -> Iterator[Fault]:
    """Find connected groups of float operators that integers lead to and from."""
    floating = [node for node in view.graph if _is_float(view, node)]
    unseen = dict.fromkeys(floating)
    for start in floating:
        if start not in unseen:
            continue
        island = _connected(start, unseen)
        if all(conversion_before_activation.place(node) is not None for node in island):
            continue  # Two conversions too many, which is EKL101.
        if any(map(_reads_integers, island)) and any(map(_feeds_integers, island)):
            reasons = dict.fromkeys(view.decisions[label(node)].reason for node in island)
            operators = ", ".join(label(node) for node in island[:_NAMED])
            more = f" and {len(island) - _NAMED} more" if len(island) > _NAMED else ""
            verb = "runs" if len(island) == 1 else "run"
            yield Fault(label(start), f"{operators}{more} {verb} in float between integers: {'; '.join(reasons)}")


def _is_float(view: View, node: ir.Node) -> bool:
    decision = view.decisions.get(label(node))
    return decision is not None and decision.precision is Precision.FLOAT and node.op_type not in LAYERS


def _connected(start: ir.Node, unseen: dict[ir.Node, None]) -> list[ir.Node]:
    found, waiting = [], [start]
    del unseen[start]
    while waiting:
        node = waiting.pop()
        found.append(node)
        behind = [reader for output in node.outputs for reader in readers(output)]
        before = [value.producer() for value in node.inputs if value is not None]
        for neighbour in (*before, *behind):
            if neighbour in unseen:
                del unseen[neighbour]
                waiting.append(neighbour)
    return found


def _reads_integers(node: ir.Node) -> bool:
    values = [value for value in node.inputs if value is not None and constant(value) is None]
    return any(dequantizer(moved_from(value)) is not None for value in values)


def _feeds_integers(node: ir.Node) -> bool:
    behind = list(readers(node.outputs[0]))
    while behind:
        reader = behind.pop()
        if reader.op_type == "QuantizeLinear":
            return True
        if reader.op_type in MOVES | BOOKKEEPING - CONVERSIONS:
            behind.extend(readers(reader.outputs[0]))
    return False


RULE = Rule(
    "EKL102",
    "float island",
    Severity.WARNING,
    CPU,
    "integers are converted to float and back around it; the conversions often cost more than int8 saves",
    "quantize its inputs and outputs alike (uint8, per tensor) if it has an int8 kernel; else replace it by an "
    "operator that has one, or keep its neighbours in float too",
    check,
)
