"""EKL110: a convolution that is quantized anew for each image."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, label


def check(view: View, target: str) -> Iterator[Fault]:
    """Find ConvInteger nodes."""
    for node in view.nodes("ConvInteger"):
        yield Fault(label(node), f"{label(node)} is ConvInteger")


RULE = Rule(
    "EKL110",
    "dynamically quantized convolution",
    Severity.WARNING,
    CPU,
    "onnxruntime's ConvInteger is many times slower than the float convolution",
    "quantize statically, or only the linear layers dynamically",
    check,
)
