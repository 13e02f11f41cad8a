"""The range whose 8-bit form loses the least information: TensorRT's entropy calibration.

Source: Szymon Migacz, 8-bit Inference with TensorRT, GPU Technology Conference 2017.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekit.calibrate._minmax import around_zero, minmax_range
from edgekit.calibrate._summary import Summary
from edgekit.spec import Range

# In bins, of which 2,048 to 4,096 hold values. The threshold is found to 16 of them, which is 0.8 percent of
# the largest magnitude or better.
_COARSE, _FINE = 64, 16


def entropy_range(summary: Summary, *, symmetric: bool = False) -> Range:
    """Return the range up to the threshold at which the KL divergence of 8-bit values is smallest.

    One threshold holds for both signs, as TensorRT has it: what is found is [-T, T], cut to the values that
    were seen unless `symmetric`. Tensors of one sign have all 256 levels between 0 and T, others 128. Each
    threshold is compared by `divergence`; of equal ones the widest wins, so a tensor that is constant, or
    too small for its bins, gets its min-max range.

    Args:
        summary: What is known of the tensor.
        symmetric: Search for int8 with zero point 0, and return the range from -T to T.

    Raises:
        QuantizationError: EK502 as for `minmax_range`.
        ValueError: The summary was collected without histogram.
    """
    extremes = minmax_range(summary)
    levels = 256 if not symmetric and (extremes.low >= 0 or extremes.high <= 0) else 128
    magnitudes = summary.magnitudes()
    kept = _best(magnitudes, levels)
    threshold = math.inf if kept is None else math.ldexp(kept, summary.exponent)
    if extremes.low == extremes.high:
        threshold = math.inf
    found_range = Range(max(extremes.low, -threshold), min(extremes.high, threshold))
    return around_zero(found_range) if symmetric else found_range


def _best(magnitudes: npt.NDArray[np.int64], levels: int) -> int | None:
    """Return how many bins to keep, the most of equally good numbers; None to keep all.

    Neighbours diverge alike, so few thresholds are tried first, and then those around the best of them.
    """
    everything = int(np.flatnonzero(magnitudes)[-1]) + 1
    if everything < levels:
        return None
    counts = _Counts(magnitudes)
    found = everything
    for reach, step in ((everything, _COARSE), (_COARSE, _FINE)):
        candidates = range(min(found + reach, everything), max(found - reach, levels) - 1, -step)
        found = min(candidates, key=lambda kept: counts.divergence(kept, levels))
    return found if found < everything else None


def divergence(magnitudes: npt.NDArray[np.int64], kept: int, levels: int) -> float:
    """Return the KL divergence, in nats, between the values and their 8-bit form when `kept` bins are kept.

    The values beyond are clipped into the last bin kept. The 8-bit form has `levels` equal parts of the kept
    bins; each spreads its values evenly over those of its bins that have any. It knows nothing of what is
    clipped, so that it differs more the more that is. Where the last bin has no values of its own, the 8-bit
    form has one of `levels` parts of what is clipped there: nothing would make every such threshold
    infinitely bad. Exact zeros have a level of their own and lose nothing, so the first bin counts as much
    as the second.

    Args:
        magnitudes: Number of values in each bin from zero up, int64.
        kept: Number of bins below the threshold, at least `levels`.
        levels: Number of values that the 8-bit form can take.

    Returns:
        Infinity when all values are clipped.
    """
    return _Counts(magnitudes).divergence(kept, levels)


class _Counts:
    """Counts of bins, added up from zero to each bin, so that a level costs two look-ups instead of a sum."""

    def __init__(self, magnitudes: npt.NDArray[np.int64]) -> None:
        self._counts = magnitudes.astype(np.float64)
        self._counts[0] = self._counts[1]
        self._below = _added_up(self._counts)
        self._filled_below = _added_up((self._counts > 0).astype(np.float64))
        self._entropy_below = _added_up(self._counts * _log(self._counts))

    def divergence(self, kept: int, levels: int) -> float:
        """Return what the function of this name says.

        With values r of the reference and s of the 8-bit form, which add up to R and S, it is
        (sum of r log r - sum of r log s) / R + log(S / R); s is the same in all filled bins of a level.
        """
        inside, last = float(self._below[kept]), float(self._counts[kept - 1])
        clipped = float(self._below[-1]) - inside
        if not inside:
            return math.inf
        # The level of bin b is floor(b * levels / kept), in integers so that no rounding blurs the borders.
        borders = -(-np.arange(levels + 1) * kept // levels)
        in_level, filled = np.diff(self._below[borders]), np.diff(self._filled_below[borders])
        share = in_level / np.maximum(filled, 1)
        own = float(self._entropy_below[kept])
        crossed = float((in_level * _log(share)).sum())
        if clipped:
            last_share = float(share[-1]) if last else clipped / levels
            own += (last + clipped) * math.log(last + clipped) - (last * math.log(last) if last else 0)
            crossed += clipped * math.log(last_share)
            spread = inside if last else inside + last_share
        else:
            spread = inside
        total = inside + clipped
        return (own - crossed) / total + math.log(spread / total)


def _log(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithms of numbers of which those below 1 are zeros, and are multiplied by zero anyway."""
    return np.log(np.maximum(values, 1))


def _added_up(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])
