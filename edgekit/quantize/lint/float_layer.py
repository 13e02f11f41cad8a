"""EKL103: layers that run in float in a quantized model."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.quantize._graph import constant
from edgekit.quantize.lint._rule import ALL, CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import CONVERSIONS, LAYERS, View, dequantizer, label, moved_from
from edgekit.spec import Precision


def check(view: View, target: str) -> Iterator[Fault]:
    """Find layers with constant weights that have no integer kernel as the graph stands."""
    if not any(view.nodes(*CONVERSIONS)):
        return
    for node in view.nodes(*LAYERS):
        decision = view.decisions.get(label(node))
        if decision is None or decision.precision is not Precision.FLOAT:
            continue
        reads = [dequantizer(moved_from(value)) is not None for value in node.inputs[:2]]
        if all(reads) and target not in CPU:
            continue  # A layer that writes float is what TensorRT wants.
        if all(reads) and dequantizer(node.inputs[0]) is None:
            continue  # The move between is the fault, which is EKL109.
        if any(reads):
            yield Fault(label(node), f"{label(node)} is half quantized: {decision.reason}")
        elif constant(node.inputs[1]) is not None:
            yield Fault(label(node), f"{label(node)} is not quantized", severity=Severity.INFO)


RULE = Rule(
    "EKL103",
    "layer in float",
    Severity.WARNING,
    ALL,
    "a layer runs in int8 only when its input, its weight and, on a CPU, its output are quantized; half quantized it "
    "pays for the conversions and multiplies in float all the same",
    "quantize what is missing, or leave the whole layer in float if accuracy needs that",
    check,
)
