"""EKL202: a conversion without its third input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import integer
from edgekit.quantize.lint._edit import set_parameters
from edgekit.quantize.lint._rule import TENSORRT, Fault, Rule, Severity
from edgekit.quantize.lint._view import CONVERSIONS, View, integer_type, label, operand, scale


def check(view: View, target: str) -> Iterator[Fault]:
    """Find conversions with two inputs."""
    for node in view.nodes(*CONVERSIONS):
        if operand(node, 2) is None:
            fixable = scale(node) is not None and integer_type(node) is not None
            yield Fault(label(node), f"{label(node)} has no zero point", fixable=fixable)


def fix(view: View, node: ir.Node) -> bool:
    """Write down the zero point of zero that the absent one stands for."""
    steps, kind = scale(node), integer_type(node)
    if operand(node, 2) is not None or steps is None or kind is None:
        return False
    shape = steps.shape if steps.size > 1 else ()
    axis = integer(node, "axis", 1) if steps.size > 1 else None
    set_parameters(view, [node], steps.reshape(shape), np.zeros(shape, kind), axis)
    return True


RULE = Rule(
    "EKL202",
    "no zero point",
    Severity.ERROR,
    TENSORRT,
    "TensorRT 8 wants all three inputs, and an absent zero point of QuantizeLinear means uint8, which it does not take",
    "write the zero point down",
    check,
    fix,
    "nothing",
)
