"""Confidence intervals, as pure functions of numbers already measured. All are two-sided at 95 %."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.results import Percentiles
from edgekit.spec import Interval

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2000
_CELLS_AT_ONCE: Final = 1 << 22  # resampled numbers held in memory at a time: 32 MiB of float64

Floats = NDArray[np.float64]


def proportion_percent(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Return a proportion in percent with its Wilson score interval (Wilson 1927)."""
    # scipy.special alone: importing scipy.stats, which has this interval too, would be a tenth of a short command.
    from scipy.special import ndtri

    z, share = float(ndtri(0.5 + confidence / 2)), successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    low, high = ((centre + side) / (1 + z * z / trials) for side in (-half, half))
    # What rounding leaves of the ends that are exact.
    return around(100.0 * share, 100.0 * low if successes else 0.0, 100.0 * high if successes < trials else 100.0)


def paired_difference_points(gained: float, lost: float, trials: float, *, confidence: float = CONFIDENCE) -> Interval:
    """Return the difference of two paired proportions, in percentage points, with Tango's score interval.

    Only images on which exactly one of the two models is right carry information on the difference. The score
    interval keeps its coverage where such images are few, and does not shrink to a point where there are
    none.

    Args:
        gained: Images that the candidate gets right and the baseline wrong.
        lost: Images that the baseline gets right and the candidate wrong.
        trials: All images, at least one.
        confidence: Of the interval. Counts may be fractions, to ask what other numbers of images would give.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998), 891-908.
    """
    estimate = (gained - lost) / trials
    low = -_tango_upper(lost, gained, trials, confidence)
    high = _tango_upper(gained, lost, trials, confidence)
    return around(100.0 * estimate, 100.0 * low, 100.0 * high)


def _tango_upper(gained: float, lost: float, trials: float, confidence: float) -> float:
    """Return the largest difference that the score test does not reject."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    critical = float(ndtri(0.5 + confidence / 2))
    estimate = (gained - lost) / trials
    if gained == trials:
        return 1.0

    def excess(difference: float) -> float:
        # Score statistic plus the critical value, multiplied by the standard error to stay finite at the
        # ends.
        return (
            gained - lost - trials * difference + critical * paired_difference_error(gained, lost, trials, difference)
        )

    # Positive just above the estimate, negative at 1. Starting on the estimate itself would find a root of no
    # meaning where the standard error vanishes: no image gained or lost, or all lost.
    return float(brentq(excess, estimate + 1e-9, 1.0, xtol=1e-12))


def paired_difference_error(gained: float, lost: float, trials: float, difference: float) -> float:
    """Return the standard error of `gained - lost` when the true difference (a share, -1 to 1) is `difference`."""
    # Maximum likelihood estimate of the probability of a loss, under that difference: root of a x^2 + b x +
    # c.
    a = 2 * trials
    b = (2 * trials - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    loss = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    return math.sqrt(max(trials * (2 * loss + difference * (1 - difference)), 0.0))


def bootstrap_of_sums(
    values: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a statistic of column sums with its bias-corrected and accelerated (BCa) bootstrap interval.

    Rows are the unit that is resampled. The jackknife of a function of sums has a closed form, so that the
    whole takes O(resamples * N) time and bounded memory, where a general BCa takes O(N^2).

    Args:
        values: (N, K) float64, one row an image.
        statistic: Maps sums, (..., K), to values, (...); it must not depend on the number of rows.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling: the same numbers give the same interval.

    Source: B. Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association
        82
    (1987), 171-185.
    """
    total = values.sum(axis=0)
    estimate = float(statistic(total))
    replicates = statistic(_resampled_sums(values, resamples, np.random.default_rng(seed)))
    jackknife = statistic(total - values)
    low, high = np.quantile(replicates, _bca_levels(estimate, replicates, jackknife))
    return around(estimate, float(low), float(high))


def _resampled_sums(values: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    rows, columns = values.shape
    sums = np.empty((resamples, columns))
    step = max(1, _CELLS_AT_ONCE // rows)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        chosen = generator.integers(0, rows, (stop - start, rows))
        for column in range(columns):
            sums[start:stop, column] = values[:, column][chosen].sum(axis=1)
    return sums


def _bca_levels(estimate: float, replicates: Floats, jackknife: Floats) -> Floats:
    """Return the two quantile levels of the replicates that bound the interval."""
    from scipy.special import ndtr, ndtri

    tails = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    below = (np.mean(replicates < estimate) + np.mean(replicates <= estimate)) / 2
    deviations = jackknife.mean() - jackknife
    spread = float(np.sum(deviations**2))
    if not 0 < below < 1 or spread == 0:
        return tails  # all rows alike, or too few to correct anything: plain percentiles
    bias = ndtri(below)
    acceleration = float(np.sum(deviations**3)) / (6 * spread**1.5)
    shifted = bias + ndtri(tails)
    levels: Floats = ndtr(bias + shifted / (1 - acceleration * shifted))
    return levels


def ratio_of_medians(numerator: Floats, denominator: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the ratio of two medians with its interval; see `ratio_of_percentiles`."""
    return ratio_of_percentiles(numerator, denominator, 50, resamples=resamples, seed=seed)


def ratio_of_percentiles(
    numerator: Floats, denominator: Floats, percent: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the ratio of a percentile of two sides with its percentile bootstrap interval over blocks.

    Frames timed one after another are correlated, so that resampling frames would give intervals too narrow;
    blocks are resampled instead, the same blocks for both sides.

    Args:
        numerator: (blocks, frames of a block) float64, positive.
        denominator: The same blocks of the other side, the same shape.
        percent: Which percentile; 50 is the median.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Source: A. Davison and D. Hinkley, "Bootstrap Methods and their Application" (1997), sections 3.8 and 5.2.
    """
    blocks = len(numerator)
    chosen = np.random.default_rng(seed).integers(0, blocks, (resamples, blocks))
    replicates = _of_rows(numerator, chosen, percent) / _of_rows(denominator, chosen, percent)
    low, high = np.quantile(replicates, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    estimate = np.percentile(numerator, percent) / np.percentile(denominator, percent)
    return around(float(estimate), float(low), float(high))


def _of_rows(values: Floats, chosen: NDArray[np.int64], percent: float) -> Floats:
    found: Floats = np.percentile(values[chosen].reshape(len(chosen), -1), percent, axis=1)
    return found


def percentiles(milliseconds: NDArray[Any]) -> Percentiles:
    """Return the 50th, 90th and 99th percentile, linearly interpolated."""
    p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, [50, 90, 99]))
    return Percentiles(p50, p90, p99)


def around(value: float, low: float, high: float) -> Interval:
    """Return the interval, widened where rounding or skew left the estimate just outside."""
    return Interval(value, min(low, value), max(high, value))
