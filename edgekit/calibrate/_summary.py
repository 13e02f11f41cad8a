"""A fixed-size summary of all values of a tensor; summaries form a commutative monoid under `merge`.

The width of a bin is a power of two that depends on the largest magnitude and on nothing else, and every
bin starts at a multiple of that width. Going to wider bins therefore adds whole neighbours, and never
splits one: any way to divide the values, merged in any order, ends in the same bytes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 8192
_HALF = BINS // 2
_HALF_BITS = _HALF.bit_length() - 1
# Dividing by the narrowest bin must stay finite in float32; values this small are as good as zero.
_LOWEST_EXPONENT = -100
# Small enough for the scratch arrays to stay in the processor's cache, where counting is several times
# faster.
_PIECE = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """What is kept of one tensor, however many images went by; `Summary()` is the summary of no values.

    Attributes:
        count: Number of values seen.
        low: Smallest value, positive infinity when there is none.
        high: Largest value, negative infinity when there is none.
        exponent: Bins are `2**exponent` wide; bin `BINS / 2` starts at zero.
        bins: How many values fell into each bin, int64 of length `BINS`; length 0 when only the extremes
            were wanted.
    """

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    exponent: int = _LOWEST_EXPONENT
    bins: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def is_finite(self) -> bool:
        """Whether there are values, and none of them is NaN or infinite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def edge(self, index: int) -> float:
        """Return the value at which bin `index` starts."""
        return math.ldexp(index - _HALF, self.exponent)


def summarise(values: npt.NDArray[np.float32], *, histogram: bool = True) -> Summary:
    """Return the summary of `values` (float32, any shape).

    NaN and infinity are not counted: they show in `is_finite`, and `bins` stay empty.
    """
    if not values.size:
        return Summary() if histogram else _without_histogram(0, math.inf, -math.inf)
    # Adding zero turns -0.0 into 0.0, so that equal summaries are equal byte for byte.
    low, high = float(values.min()) + 0.0, float(values.max()) + 0.0
    if not (histogram and math.isfinite(low) and math.isfinite(high)):
        return _without_histogram(values.size, low, high)
    exponent = _exponent(max(-low, high))
    return Summary(values.size, low, high, exponent, _count(values.ravel(), exponent, signed=low < 0))


def merge(first: Summary, second: Summary) -> Summary:
    """Return the summary of the values of both: associative, commutative, exact; `Summary()` is neutral.

    Raises:
        ValueError: One has a histogram, the other has values but none.
    """
    if not first.count:
        return second
    if not second.count:
        return first
    if first.bins.size != second.bins.size:
        raise ValueError("a summary with a histogram cannot be merged with one that has none")
    exponent = max(first.exponent, second.exponent)
    return Summary(
        first.count + second.count,
        min(first.low, second.low),
        max(first.high, second.high),
        exponent,
        _widened(first, exponent) + _widened(second, exponent),
    )


def _without_histogram(count: int, low: float, high: float) -> Summary:
    return Summary(count, low, high, _LOWEST_EXPONENT, np.zeros(0, np.int64))


def _exponent(magnitude: float) -> int:
    """The narrowest bins of which half as many as there are cover `[0, magnitude]`."""
    return max(math.frexp(magnitude)[1] - _HALF_BITS, _LOWEST_EXPONENT) if magnitude else _LOWEST_EXPONENT


def _count(values: npt.NDArray[np.float32], exponent: int, *, signed: bool) -> npt.NDArray[np.int64]:
    # Multiplying by a power of two is exact, but for float32 that underflows: just below zero is another bin
    # than zero. Tensors after a ReLU, most of them, have no such bin and need neither float64 nor floor.
    per_unit = math.ldexp(1.0, -exponent)
    bins = np.zeros(BINS, np.int64)
    size = min(values.size, _PIECE)
    scaled: npt.NDArray[np.floating[Any]] = np.empty(size, np.float64 if signed else np.float32)
    index = np.empty(size, np.intp)
    for start in range(0, values.size, _PIECE):
        piece = values[start : start + _PIECE]
        size = piece.size
        np.copyto(scaled[:size], piece)
        scaled[:size] *= per_unit
        if signed:
            np.floor(scaled[:size], out=scaled[:size])
            scaled[:size] += _HALF
        np.copyto(index[:size], scaled[:size], casting="unsafe")
        counts = np.bincount(index[:size])
        offset = 0 if signed else _HALF
        bins[offset : offset + counts.size] += counts
    return bins


def _widened(summary: Summary, exponent: int) -> npt.NDArray[np.int64]:
    bins = summary.bins
    if not bins.size:
        return bins
    # After this many doublings everything lies in the two bins beside zero, and stays there.
    for _ in range(min(exponent - summary.exponent, _HALF_BITS + 1)):
        wide = np.zeros_like(bins)
        wide[_HALF // 2 : _HALF // 2 + _HALF] = bins.reshape(-1, 2).sum(axis=1)
        bins = wide
    return bins
