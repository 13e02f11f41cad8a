"""Whether a change of accuracy is more than chance, and how small a one the images can show. Pure functions.

Two models see the same images, so only images that one of them alone gets right tell: gained (the candidate alone)
and lost (the baseline alone). The power functions take shares (0 to 1), everything else counts of images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.results import NonInferiority
from edgekit.spec import Interval
from edgekit.validate._statistics import CONFIDENCE, RESAMPLES, around, paired_difference_error

LEVEL: Final = 1 - CONFIDENCE
POWER: Final = 0.8
_FEWEST_SHOWING: Final = 6  # losses alone, without a gain, that are significant: 2 * 0.5**6 < 5 %
_STANDARD_ERRORS: Final = 6  # of the number of images that changed, beyond which there is nothing to add up
_FINE_ENOUGH: Final = 5000  # a number of images is rounded up by less than one part in so many

Flags = NDArray[np.bool_]


def gained_and_lost(baseline: Flags, candidate: Flags) -> tuple[int, int]:
    """Return how many images the candidate alone, and how many the baseline alone gets right."""
    return int(np.sum(candidate & ~baseline)), int(np.sum(baseline & ~candidate))


def mcnemar_exact(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: a sign test on the images that changed.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), 153-157.
    """
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def paired_bootstrap_points(
    gained: int, lost: int, trials: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the change of accuracy in percentage points with its paired percentile bootstrap interval.

    Images drawn with replacement hold gains and losses in multinomial numbers, so that the numbers are drawn and not
    the images: the same distribution, in time that does not grow with the images.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    shares = [gained / trials, lost / trials, (trials - gained - lost) / trials]
    drawn = np.random.default_rng(seed).multinomial(trials, shares, size=resamples)
    low, high = np.quantile(100.0 * (drawn[:, 0] - drawn[:, 1]) / trials, [LEVEL / 2, 1 - LEVEL / 2])
    return around(100.0 * (gained - lost) / trials, float(low), float(high))


def non_inferiority(gained: int, lost: int, trials: int, *, margin_pp: float) -> NonInferiority:
    """Test, one-sided, that the candidate is worse by less than a margin, with Tango's score statistic.

    Args:
        gained: Images that the candidate alone gets right.
        lost: Images that the baseline alone gets right.
        trials: All images, at least one.
        margin_pp: The margin in points; below 0 the candidate must be better by more than that.

    Source: T. Tango, Statistics in Medicine 17 (1998), 891-908.
    """
    from scipy.stats import norm

    margin = margin_pp / 100
    if abs(margin) >= 1:  # No model can drop by as much, or rise by as much.
        p_value = 0.0 if margin > 0 else 1.0
    else:
        excess = gained - lost + trials * margin
        error = paired_difference_error(gained, lost, trials, -margin)
        p_value = float(norm.sf(excess / error)) if error > 0 else float(excess <= 0)
    return NonInferiority(margin_pp, p_value, p_value < LEVEL)


def power_to_show(drop: float, images: int, discordant: float, *, level: float = LEVEL) -> float:
    """Return how likely McNemar's exact test shows a true drop, exactly: a sum over the images that change.

    Args:
        drop: The true drop of accuracy, a share above 0.
        images: Number of images.
        discordant: Share of the images that one model alone gets right; never fewer than the drop itself takes.
        level: Of the two-sided test.

    Source: R. O'Brien, "Sample size analysis in study planning" (2002), pages 161-163; G*Power 3 computes the same.
    """
    from scipy.stats import binom

    discordant = max(discordant, drop)
    mean, error = images * discordant, math.sqrt(images * discordant * (1 - discordant))
    first = max(1, math.floor(mean - _STANDARD_ERRORS * error))
    last = min(images, math.ceil(mean + _STANDARD_ERRORS * error))
    changed = np.arange(first, last + 1)
    fewest_lost = binom.isf(level / 2, changed, 0.5) + 1  # that are significant among so many changed
    lost_share = min((discordant + drop) / (2 * discordant), 1.0)
    shown = binom.sf(fewest_lost - 1, changed, lost_share)
    return float(np.sum(binom.pmf(changed, images, discordant) * shown))


def detectable_drop_points(images: int, discordant: float) -> float | None:
    """Return the smallest true drop, in points, that is shown with 80 % power; None where none is.

    Args:
        images: Number of images.
        discordant: Share of them that one model alone gets right, as measured.
    """
    from scipy.optimize import brentq

    if images < _FEWEST_SHOWING:
        return None

    def lacking(drop: float) -> float:
        return POWER - power_to_show(drop, images, discordant)

    return 100.0 * float(brentq(lacking, 1e-9, 1.0, xtol=1e-7))


def images_needed(drop: float, discordant: float) -> int:
    """Return how many images show a true drop with 80 % power.

    Args:
        drop: The drop, a share above 0.
        discordant: Share of the images that one model alone gets right, as measured.
    """
    from scipy.stats import norm

    discordant = max(discordant, drop)
    # The normal approximation of Connor (Biometrics 43 (1987), 207-211) is too few, by about two over the drop.
    sides = norm.isf(LEVEL / 2) * math.sqrt(discordant) + norm.isf(1 - POWER) * math.sqrt(discordant - drop**2)
    too_few = max(_FEWEST_SHOWING - 1, math.floor(float(sides / drop) ** 2) - 1)
    enough = too_few + math.ceil(2 / drop)
    while power_to_show(drop, enough, discordant) < POWER:
        too_few, enough = enough, enough + math.ceil(2 / drop)
    while enough - too_few > max(1, enough // _FINE_ENOUGH):
        middle = (enough + too_few) // 2
        if power_to_show(drop, middle, discordant) < POWER:
            too_few = middle
        else:
            enough = middle
    return enough


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values corrected for their number: at most 5 % of runs have any below 5 % by chance.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979), 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return tuple(map(float, corrected))
