"""A fixed-size summary of all values of a tensor; summaries form a commutative monoid under `merge`.

The width of a bin is a power of two that depends on the largest magnitude and on nothing else, and every
bin starts at a multiple of that width. Going to wider bins therefore adds whole neighbours, and never
splits one: any way to divide the values, merged in any order, ends in the same bytes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

BINS = 8192
HALF = BINS // 2
_HALF_BITS = HALF.bit_length() - 1
# Dividing by the narrowest bin must stay finite in float32; values this small are as good as zero.
LOWEST_EXPONENT = -100


def _no_bins() -> npt.NDArray[np.int64]:
    return np.zeros(BINS, np.int64)


def _no_channels() -> npt.NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of one tensor, however many images went by; `Summary()` is the summary of no values.

    Attributes:
        count: Number of values seen.
        low: Smallest value, positive infinity when there is none.
        high: Largest value, negative infinity when there is none.
        exponent: Bins are `2**exponent` wide; bin `BINS / 2` starts at zero.
        bins: How many values fell into each bin, int64 of length `BINS`; length 0 when only the extremes
            were wanted, or when some values are not finite.
        channel_low: Smallest value of each channel, float32; length 0 for a tensor without channel axis.
        channel_high: Largest value of each channel, float32, as long as `channel_low`.
    """

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    exponent: int = LOWEST_EXPONENT
    bins: npt.NDArray[np.int64] = dataclasses.field(default_factory=_no_bins)
    channel_low: npt.NDArray[np.float32] = dataclasses.field(default_factory=_no_channels)
    channel_high: npt.NDArray[np.float32] = dataclasses.field(default_factory=_no_channels)

    @property
    def is_finite(self) -> bool:
        """Whether there are values, and none of them is NaN or infinite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def dead_channels(self) -> tuple[int, ...]:
        """Channels that were zero on every image."""
        return tuple(np.flatnonzero((self.channel_low == 0) & (self.channel_high == 0)).tolist())

    @property
    def mean(self) -> float:
        """Mean of all values, exact to half a bin (at most 1/4096 of the largest magnitude).

        It is read from the bins, so that it does not depend on how the values were divided.
        Raises ValueError when there is no histogram or no value.
        """
        values, counts = self.points()
        return float((values * counts).sum()) / self.count

    @property
    def variance(self) -> float:
        """Variance of all values; its root, the standard deviation, is exact to half a bin as `mean` is."""
        values, counts = self.points()
        return float((np.square(values - self.mean) * counts).sum()) / self.count

    def edge(self, index: int) -> float:
        """Return the value at which bin `index` starts."""
        return math.ldexp(index - HALF, self.exponent)

    def points(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the middle of each bin that is not empty, and how many values it stands for.

        No middle lies outside `low` and `high`, so each is within half a bin of the values it stands for.

        Raises:
            ValueError: There is no histogram or no value.
        """
        if not self.count or not self.bins.size:
            raise ValueError("the summary has no values" if self.bins.size else _NO_HISTOGRAM)
        filled = np.flatnonzero(self.bins)
        middles = np.ldexp(filled - HALF + 0.5, self.exponent)
        return np.clip(middles, self.low, self.high), self.bins[filled].astype(np.float64)

    def magnitudes(self) -> npt.NDArray[np.int64]:
        """Return how many values have a magnitude in each bin from zero up, int64 of length `BINS / 2`.

        Raises:
            ValueError: There is no histogram.
        """
        if not self.bins.size:
            raise ValueError(_NO_HISTOGRAM)
        return self.bins[HALF:] + self.bins[HALF - 1 :: -1]


_NO_HISTOGRAM = "the summary was collected without histogram"


def merge(first: Summary, second: Summary) -> Summary:
    """Return the summary of the values of both: associative, commutative, exact; `Summary()` is neutral.

    Raises:
        ValueError: One has a histogram, the other has finite values but none; or their channels differ in number.
    """
    if not first.count:
        return second
    if not second.count:
        return first
    if first.channel_low.size != second.channel_low.size:
        raise ValueError(f"{first.channel_low.size} and {second.channel_low.size} channels cannot be merged")
    exponent, bins = LOWEST_EXPONENT, np.zeros(0, np.int64)
    if first.is_finite and second.is_finite:
        if first.bins.size != second.bins.size:
            raise ValueError("a summary with a histogram cannot be merged with one that has none")
        exponent = max(first.exponent, second.exponent)
        bins = widened(first.bins, exponent - first.exponent) + widened(second.bins, exponent - second.exponent)
    # numpy's minimum keeps a NaN, Python's may lose it.
    return Summary(
        first.count + second.count,
        float(np.minimum(first.low, second.low)),
        float(np.maximum(first.high, second.high)),
        exponent,
        bins,
        np.minimum(first.channel_low, second.channel_low),
        np.maximum(first.channel_high, second.channel_high),
    )


def exponent_for(magnitude: float) -> int:
    """Return the exponent of the narrowest bins of which half as many as there are cover `[0, magnitude]`."""
    return max(math.frexp(magnitude)[1] - _HALF_BITS, LOWEST_EXPONENT) if magnitude else LOWEST_EXPONENT


def widened(bins: npt.NDArray[np.int64], doublings: int) -> npt.NDArray[np.int64]:
    """Return the same counts in bins that are `2**doublings` times as wide."""
    if not bins.size:
        return bins
    # After this many doublings everything lies in the two bins beside zero, and stays there.
    for _ in range(min(doublings, _HALF_BITS + 1)):
        wide = np.zeros_like(bins)
        wide[HALF // 2 : HALF // 2 + HALF] = bins.reshape(-1, 2).sum(axis=1)
        bins = wide
    return bins
