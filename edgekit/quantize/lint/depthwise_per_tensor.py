"""EKL206: one scale for all channels of a depthwise convolution."""

from __future__ import annotations

from collections.abc import Iterator

from edgekit.quantize.lint import weights_per_tensor
from edgekit.quantize.lint._rule import ALL, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, is_depthwise


def check(view: View, target: str) -> Iterator[Fault]:
    """Find depthwise convolutions whose weight has one scale."""
    yield from weights_per_tensor.faults(layer for layer in view.layers() if is_depthwise(layer))


RULE = Rule(
    "EKL206",
    "depthwise weights with one scale per tensor",
    Severity.WARNING,
    ALL,
    "each channel of a depthwise convolution has a filter of its own, of its own size: with one scale for all, small "
    "filters become a few integers or zero, and MobileNets lose most of their accuracy",
    "quantize the float model again, per channel; what was rounded away is not in this file",
    check,
    weights_per_tensor.fix,
    "weights kept in float32 get a scale per channel and so finer steps",
)
