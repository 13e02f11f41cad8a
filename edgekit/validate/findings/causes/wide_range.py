"""The range of an activation is so wide that its values share a few integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import MUCH_DB, Rule, is_rounded, span


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find a range that costs more by its steps than by what it cuts off, and more than it need."""
    rounding, quantizer = observation.rounding, observation.quantizer
    if rounding is None or quantizer is None:
        return None
    if rounding.excess_db < MUCH_DB or rounding.clipped >= rounding.noise / 2:
        return None
    step = float(np.median(quantizer.step))
    used = (float(observation.expected.max()) - float(observation.expected.min())) / step if step > 0 else 0.0
    integers, values = span(observation)
    return (
        f"its integers reach from {integers} and its values from {values}: {used:.0f} of 255 steps are used, "
        f"{rounding.excess_db:.0f} dB more error than with the best 8-bit range"
    )


RULE = Rule(
    "wide-range",
    "output",
    "activations",
    "take ranges that leave rare values out: edgekit export --quantize static --calibration-method percentile (or "
    "mse), with --calibration PATH of images like these",
    is_rounded,
    check,
)
