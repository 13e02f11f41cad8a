"""A few channels of an activation are much larger than the others, and set the steps for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate._layers import decibels
from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import Rule, is_rounded

_TIMES = 8.0  # Three bits of eight.
_ENOUGH_DB = 24.0


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find channels that are many times as large as most, where the others are left with little."""
    quantizer = observation.quantizer
    largest = np.abs(observation.expected).max(axis=0)
    alive = largest > 0
    if quantizer is None or quantizer.step.size > 1 or alive.sum() < 2:
        return None
    usual = float(np.median(largest[alive]))
    outliers = largest > _TIMES * usual
    if not outliers.any():
        return None
    others = observation.expected[:, alive & ~outliers].astype(np.float64)
    error = quantizer.rounded(others) - others
    ratio = decibels(float(np.square(others).sum()), float(np.square(error).sum()))
    if ratio >= _ENOUGH_DB:
        return None
    number = int(outliers.sum())
    channels = f"channel {int(outliers.argmax())} is" if number == 1 else f"{number} channels are up to"
    return (
        f"{channels} {float(largest.max()) / usual:.0f} times as large as the median channel: of the others, "
        f"{largest.size - number} of {largest.size}, {2 * usual / float(quantizer.step[0]):.0f} steps are left and an "
        f"SQNR of {ratio:.1f} dB"
    )


RULE = Rule(
    "outlier-channel",
    "output",
    "activations",
    "let the accuracy ladder equalize channels: edgekit export --quantize static --effort balanced",
    is_rounded,
    check,
)
