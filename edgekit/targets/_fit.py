"""Fitting what is reached of a device's peaks to times that were measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from edgekit.targets._estimate import Coefficients, LayerCost, Peaks, estimate, total_ms

# How far one measured time and one starting value may be off, as the standard deviation of a logarithm: 30 %, and a
# factor of 2.7. With few times the start counts, with many they do.
TIME_DEVIATION, START_DEVIATION = 0.3, 1.0
_SMALLEST = 1e-6


@dataclasses.dataclass(frozen=True)
class Observation:
    """A model on a device, and the time it took in milliseconds."""

    costs: tuple[LayerCost, ...]
    peaks: Peaks
    measured_ms: float


def fit(observations: Sequence[Observation], start: Coefficients) -> Coefficients:
    """Return the most likely coefficients, given what was measured and where one starts from.

    The logarithm of each time and of each starting value is taken for normally distributed; shares end at 1.

    Args:
        observations: Times that were measured; with none the start is returned.
        start: What is assumed without them.
    """
    from scipy.optimize import least_squares

    if not observations:
        return start
    origin = [math.log(value) for value in dataclasses.astuple(start)]

    def residuals(logarithms: Sequence[float]) -> list[float]:
        coefficients = _from(logarithms)
        times = [total_ms(estimate(item.costs, item.peaks, coefficients)) for item in observations]
        missed = [
            math.log(time / item.measured_ms) / TIME_DEVIATION for time, item in zip(times, observations, strict=True)
        ]
        moved = [(value - first) / START_DEVIATION for value, first in zip(logarithms, origin, strict=True)]
        return [*missed, *moved]

    lowest, highest = [math.log(_SMALLEST)] * 3, [0.0, 0.0, math.log(1e6)]
    inside = [min(max(value, low), high - 1e-9) for value, low, high in zip(origin, lowest, highest, strict=True)]
    return _from(least_squares(residuals, inside, bounds=(lowest, highest), xtol=1e-12, ftol=1e-12, gtol=1e-12).x)


def _from(logarithms: Sequence[float]) -> Coefficients:
    bandwidth, compute, launch = (math.exp(value) for value in logarithms)
    return Coefficients(bandwidth, compute, launch)
