"""EKL107: a concatenation of tensors with different scales."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.quantize._graph import constant, only_reader
from edgekit.quantize.lint._edit import set_parameters
from edgekit.quantize.lint._rule import ALL, Fault, Rule, Severity
from edgekit.quantize.lint._view import (
    View,
    dequantizer,
    integer_type,
    label,
    pair,
    producer,
    readers,
    same_parameters,
    scale,
    zero_point,
)


def check(view: View, target: str) -> Iterator[Fault]:
    """Find Concat nodes whose quantized inputs and output do not share one scale."""
    for node in view.nodes("Concat"):
        sides = _sides(node)
        if len(sides) > 1 and not all(same_parameters(sides[0], other) for other in sides[1:]):
            scales = sorted({float(steps[0]) for side in sides if (steps := scale(side)) is not None})
            numbers = ", ".join(f"{step:.4g}" for step in scales)
            what = f"what {label(node)} reads and writes has scales {numbers}"
            yield Fault(label(node), what, fixable=_changeable(node) is not None)


def fix(view: View, node: ir.Node) -> bool:
    """Give all inputs the scale of the output, whose range holds theirs."""
    changeable = _changeable(node)
    output = _quantizer_behind(node)
    if changeable is None or output is None:
        return False
    wanted, zeros = constant(output.inputs[1]), constant(output.inputs[2]) if len(output.inputs) > 2 else None
    if wanted is None or zeros is None:
        return False
    for conversions in changeable:
        set_parameters(view, conversions, wanted, zeros)
    return True


def _sides(node: ir.Node) -> list[ir.Node]:
    """The conversions at the inputs and the output; none when an input is float, which is another fault."""
    before = [dequantizer(value) for value in node.inputs]
    inputs = [conversion for conversion in before if conversion is not None]
    if len(inputs) < len(before):
        return []
    output = _quantizer_behind(node)
    return inputs if output is None else [*inputs, output]


def _quantizer_behind(node: ir.Node) -> ir.Node | None:
    behind = readers(node.outputs[0])
    return behind[0] if len(behind) == 1 and behind[0].op_type == "QuantizeLinear" else None


def _changeable(node: ir.Node) -> list[tuple[ir.Node, ...]] | None:
    """The pairs whose scale must change, None when one also serves others, whose bias would no longer fit it."""
    output = _quantizer_behind(node)
    if output is None or len(output.inputs) < 3 or zero_point(output) is None or scale(output) is None:
        return None
    result = []
    for side in _sides(node)[:-1]:
        if same_parameters(side, output):
            continue
        quantize = producer(side.inputs[0], "QuantizeLinear")
        conversions = None if quantize is None else pair(quantize)
        alone = conversions is not None and all(only_reader(each.outputs[0]) is node for each in conversions[1:])
        if conversions is None or not alone or integer_type(side) != integer_type(output):
            return None
        result.append(conversions)
    return result


RULE = Rule(
    "EKL107",
    "concatenation of different scales",
    Severity.WARNING,
    ALL,
    "integers of different scales cannot be copied beside each other: each input is rescaled first, and rounded again",
    "give all inputs the scale of the output",
    check,
    fix,
    "one rounding fewer; each input is rounded in the steps of the output, as it was later on anyway",
)
