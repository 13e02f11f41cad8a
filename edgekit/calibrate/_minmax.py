"""Ranges that are read off a summary: all values, or all but the most extreme."""

from __future__ import annotations

import numpy as np

from edgekit.calibrate._summary import Summary
from edgekit.errors import QuantizationError
from edgekit.spec import Range

DEFAULT_PERCENTILE = 99.99


def minmax_range(summary: Summary, *, symmetric: bool = False) -> Range:
    """Return the range of all values seen; with `symmetric`, the smallest around zero that holds it.

    Raises:
        QuantizationError: EK502 when no values were seen, or some are NaN or infinite.
    """
    if not summary.is_finite:
        raise QuantizationError(
            "EK502",
            "no finite values were seen" if summary.count else "no values were seen",
            hint="check the calibration images and the preprocessing",
        )
    extremes = Range(summary.low, summary.high)
    return around_zero(extremes) if symmetric else extremes


def percentile_range(summary: Summary, percentile: float = DEFAULT_PERCENTILE, *, symmetric: bool = False) -> Range:
    """Return the range that holds at least `percentile` percent of the values seen.

    At most half of the rest is left out at either end, so a tensor that starts at zero still starts there.
    Each end is exact to one bin, at most 1/2048 of the largest magnitude. With `symmetric`, it is widened to
    the smallest range around zero.

    Raises:
        QuantizationError: EK502 as for `minmax_range`.
        ValueError: `percentile` is not in (0, 100], or the summary was collected without histogram.
    """
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile {percentile} is not in (0, 100]")
    extremes = minmax_range(summary)
    if not summary.bins.size:
        raise ValueError("the summary was collected without histogram")
    left_out = summary.count * (100 - percentile) / 200
    first = int(np.argmax(np.cumsum(summary.bins) > left_out))
    last = summary.bins.size - 1 - int(np.argmax(np.cumsum(summary.bins[::-1]) > left_out))
    found = Range(max(summary.edge(first), extremes.low), min(summary.edge(last + 1), extremes.high))
    return around_zero(found) if symmetric else found


def around_zero(interval: Range) -> Range:
    """Return the smallest range from -x to x that holds `interval`."""
    magnitude = max(abs(interval.low), abs(interval.high))
    return Range(-magnitude, magnitude)
