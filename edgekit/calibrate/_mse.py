"""The range whose 8-bit form has the smallest mean squared error."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekit.calibrate._minmax import minmax_range
from edgekit.calibrate._summary import Summary
from edgekit.spec import Range

_Points = npt.NDArray[np.float64]
# Each end is tried at so many places between zero and the farthest value.
STEPS = 128
# Searching one end and the other in turns settles in two or three rounds.
_ROUNDS = 6


def mse_range(summary: Summary, *, symmetric: bool = False) -> Range:
    """Return the range whose quantization to 8 bits has the smallest expected squared error, clipping included.

    Ends are multiples of 1/128 of the extremes; a tensor of both signs has its ends searched in turns until
    neither moves. Each bin stands at its middle, so the root of the mean squared error is exact to half a
    bin. Of equal ranges the widest wins; a constant tensor keeps its min-max range.

    Args:
        summary: What is known of the tensor.
        symmetric: Search for int8 with zero point 0 and integers in [-127, 127], and return the range from
            -T to T; else for uint8 with a zero point, whose range always holds zero.

    Raises:
        QuantizationError: EK502 as for `minmax_range`.
        ValueError: The summary was collected without histogram.
    """
    extremes = minmax_range(summary, symmetric=symmetric)
    values, counts = summary.points()
    if summary.low == summary.high:
        return extremes
    if symmetric:
        magnitude = _best(extremes.high, functools.partial(symmetric_error, values, counts))
        return Range(-magnitude, magnitude)
    low, high = min(extremes.low, 0.0), max(extremes.high, 0.0)
    end_low, end_high = low, high
    for _ in range(_ROUNDS):
        before = low, high
        high = _best(end_high, functools.partial(affine_error, values, counts, low))
        low = _best(end_low, functools.partial(affine_error, values, counts, high=high))
        if (low, high) == before:
            break
    return Range(max(low, extremes.low), min(high, extremes.high))


def _best(farthest: float, error: Callable[[float], float]) -> float:
    """Return the multiple of `farthest / STEPS` with the smallest error, the farthest of equal ones."""
    if not farthest:
        return farthest
    ends = [farthest * step / STEPS for step in range(STEPS, 0, -1)]
    return min(ends, key=error)


def affine_error(values: _Points, counts: _Points, low: float, high: float) -> float:
    """Return the mean squared error of uint8 values over `[low, high]`, which holds zero.

    Args:
        values: Values, float64.
        counts: How often each occurs, as long as `values`.
        low: Value of the integer 0, at most 0; it moves by up to half a step so that zero is an integer.
        high: Value of the integer 255, at least 0.
    """
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    integers = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    return float((np.square((integers - zero_point) * scale - values) * counts).sum() / counts.sum())


def symmetric_error(values: _Points, counts: _Points, magnitude: float) -> float:
    """Return the mean squared error of int8 values in [-127, 127] over `[-magnitude, magnitude]`."""
    scale = magnitude / 127
    integers = np.clip(np.rint(values / scale), -127, 127)
    return float((np.square(integers * scale - values) * counts).sum() / counts.sum())
