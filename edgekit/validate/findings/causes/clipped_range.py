"""The range of an activation is so narrow that its larger values are cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import MUCH_DB, Rule, is_rounded, span


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find a range that costs more by what it cuts off than by its steps, and more than it need."""
    rounding, quantizer = observation.rounding, observation.quantizer
    if rounding is None or quantizer is None:
        return None
    if rounding.excess_db < MUCH_DB or rounding.clipped < rounding.noise / 2:
        return None
    values = observation.expected.astype(np.float64)
    cut = 100 * float(np.mean(quantizer.clipped(values) != values))
    integers, reached = span(observation)
    return (
        f"its integers reach from {integers} and its values from {reached}: {cut:.2g} % of them are cut off, "
        f"{rounding.excess_db:.0f} dB more error than with the best 8-bit range"
    )


RULE = Rule(
    "clipped-range",
    "output",
    "activations",
    "calibrate on images like these: edgekit export --quantize static --calibration PATH, more of them with "
    "--calibration-samples, or with the whole range of what they give: --calibration-method minmax",
    is_rounded,
    check,
)
