"""Counting values into bins, fast: the inner loop of calibration.

A tensor is worked through in pieces that stay in the processor's cache. The calls that do the work release
Python's lock, so that several threads count at the same time; numpy's own bincount would keep it.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from edgekit.calibrate._summary import BINS, HALF, LOWEST_EXPONENT, Summary, exponent_for, widened

_Values: TypeAlias = npt.NDArray[np.float32]
# Values in one piece: enough to make the calls cheap, few enough for the cache.
_PIECE = 1 << 18
# Tensors of these ranks have their channels along axis 1.
_WITH_CHANNELS = (2, 4)


class Scratch:
    """Arrays that one thread uses again and again while it counts."""

    def __init__(self, size: int = _PIECE) -> None:
        self.scaled = np.empty(size, np.float32)
        self.index = np.empty(size + size % 2, np.int16)


class Counter:
    """The summary of one tensor while it grows: `add` values, then ask for `summary`.

    Args:
        histogram: False keeps the extremes only.

    Attributes:
        is_finite: Whether no value so far was NaN or infinite.
    """

    def __init__(self, *, histogram: bool = True) -> None:
        self.is_finite = True
        self._histogram = _Histogram() if histogram else None
        self._count = 0
        self._has_channels = False
        self._low: _Values = np.empty(0, np.float32)
        self._high: _Values = np.empty(0, np.float32)

    def add(self, values: _Values, scratch: Scratch) -> None:
        """Count `values` (float32, any shape; channels along axis 1 when it has 2 or 4 axes).

        Raises:
            ValueError: They have another number of channels than the values before.
        """
        if not values.size:
            return
        self._count += values.size
        self._has_channels = values.ndim in _WITH_CHANNELS
        # Each row is one channel of one image.
        images, channels = values.shape[:2] if self._has_channels else (1, 1)
        rows = np.ascontiguousarray(values).reshape(images * channels, -1)
        low, high = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
        at_once = max(1, _PIECE // rows.shape[1])
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            self._add_rows(rows[part], low[part], high[part], scratch)
        if images > 1:
            low, high = low.reshape(images, channels).min(axis=0), high.reshape(images, channels).max(axis=0)
        self._extend(low, high)

    def summary(self) -> Summary:
        """Return what was counted so far."""
        if not self._count:
            return Summary() if self._histogram is not None else Summary(bins=np.zeros(0, np.int64))
        # Adding zero turns -0.0 into 0.0, so that equal summaries are equal byte for byte.
        low, high = self._low + np.float32(0), self._high + np.float32(0)
        exponent, bins = LOWEST_EXPONENT, np.zeros(0, np.int64)
        if self._histogram is not None and self.is_finite:
            exponent, bins = self._histogram.exponent, self._histogram.bins()
        return Summary(
            self._count,
            float(low.min()),
            float(high.max()),
            exponent,
            bins,
            low if self._has_channels else low[:0],
            high if self._has_channels else high[:0],
        )

    def _add_rows(self, rows: _Values, low: _Values, high: _Values, scratch: Scratch) -> None:
        """Count rows, and write the extremes of each into `low` and `high`."""
        values = rows.ravel()
        # Faster than a reduction along the axis where rows are short, as in the last layers.
        starts = np.arange(0, values.size, rows.shape[1])
        lowest = float(np.minimum.reduce(np.minimum.reduceat(values, starts, out=low)))
        highest = float(np.maximum.reduce(np.maximum.reduceat(values, starts, out=high)))
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            self.is_finite = False
        elif self._histogram is not None:
            self._histogram.add(values, lowest, highest, scratch)

    def _extend(self, low: _Values, high: _Values) -> None:
        if not self._low.size:
            self._low, self._high = low, high
        elif self._low.size != low.size:
            raise ValueError(f"{low.size} channels after {self._low.size}")
        else:
            np.minimum(self._low, low, out=self._low)
            np.maximum(self._high, high, out=self._high)


class _Histogram:
    """Bins that become wider as larger values come.

    Neighbours are often equal, zero after a ReLU, and adding to the same place again has to wait for the
    addition before. So every second value counts in a second row; the two are added up at the end.
    """

    def __init__(self) -> None:
        self.exponent = LOWEST_EXPONENT
        self._bins = np.zeros(BINS, np.int64)
        self._length = HALF
        self._rows = np.zeros(2 * HALF, np.int64)

    def add(self, values: _Values, low: float, high: float, scratch: Scratch) -> None:
        """Count finite values (one axis) that lie between `low` and `high`."""
        exponent = max(self.exponent, exponent_for(max(-low, high)))
        # Tensors after a ReLU, most of them, need the bins from zero up only.
        length = BINS if low < 0 else HALF
        if (exponent, length) != (self.exponent, self._length):
            self._bins = widened(self.bins(), exponent - self.exponent)
            self.exponent, self._length = exponent, length
            self._rows = np.zeros(2 * length, np.int64)
        for start in range(0, values.size, _PIECE):
            self._count(values[start : start + _PIECE], scratch)

    def bins(self) -> npt.NDArray[np.int64]:
        """Return how many values are in each bin."""
        bins = self._bins.copy()
        bins[-self._length :] += self._rows.reshape(2, -1).sum(axis=0)
        return bins

    def _count(self, values: _Values, scratch: Scratch) -> None:
        size, even = values.size, values.size + values.size % 2
        index = scratch.index[:even]
        index[size:] = 0
        _write_indices(values, self.exponent, scratch.scaled[:size], index[:size], signed=self._length == BINS)
        # The second row is one half of each int32.
        pairs = index.view(np.int32)
        pairs += self._length << 16
        self._rows += torch.bincount(torch.from_numpy(index), minlength=2 * self._length).numpy()
        self._rows[0] -= even - size


def summarise(values: _Values, *, histogram: bool = True) -> Summary:
    """Return the summary of `values` (float32, any shape; channels along axis 1 when it has 2 or 4 axes).

    NaN and infinity are not counted: they show in `is_finite`, and `bins` stay empty.
    """
    counter = Counter(histogram=histogram)
    counter.add(values, Scratch(min(values.size, _PIECE)))
    return counter.summary()


def _write_indices(
    values: _Values, exponent: int, scaled: _Values, index: npt.NDArray[np.int16], *, signed: bool
) -> None:
    # Multiplying by a power of two is exact, except that it may underflow: a value just below zero becomes
    # zero, which is in another bin. That takes bins wider than 1.
    per_unit = math.ldexp(1.0, -exponent)
    if signed and exponent > 0:
        index[:] = np.floor(values.astype(np.float64) * per_unit) + HALF
        return
    np.multiply(values, np.float32(per_unit), out=scaled)
    if signed:
        np.floor(scaled, out=scaled)
        scaled += HALF
    np.copyto(index, scaled, casting="unsafe")
