"""From a summary to the range that a tensor is quantized over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.calibrate._summary import Summary
from edgekit.errors import QuantizationError
from edgekit.spec import CalibrationMethod, Range

DEFAULT_PERCENTILE = 99.99


def minmax_range(summary: Summary) -> Range:
    """Return the range of all values seen.

    Raises:
        QuantizationError: EK502 when no values were seen, or some are NaN or infinite.
    """
    if not summary.is_finite:
        raise QuantizationError(
            "EK502",
            "no finite values were seen" if summary.count else "no values were seen",
            hint="check the calibration images and the preprocessing",
        )
    return Range(summary.low, summary.high)


def percentile_range(summary: Summary, percentile: float = DEFAULT_PERCENTILE) -> Range:
    """Return the range that holds at least `percentile` percent of the values seen.

    At most half of the rest is left out at either end, so a tensor that starts at zero still starts there.
    Each end is exact to one bin, at most 1/2048 of the largest magnitude.

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
    return Range(max(summary.edge(first), extremes.low), min(summary.edge(last + 1), extremes.high))


_METHODS: Mapping[CalibrationMethod, Callable[[Summary], Range]] = {
    "auto": percentile_range,
    "minmax": minmax_range,
    "percentile": percentile_range,
}


def ranges(summaries: Mapping[str, Summary], method: CalibrationMethod = "auto") -> dict[str, Range]:
    """Return the range of every tensor by `method`.

    Raises:
        QuantizationError: EK502 naming the tensor that has no finite values.
    """
    return {tensor: _named_range(tensor, summary, method) for tensor, summary in summaries.items()}


def _named_range(tensor: str, summary: Summary, method: CalibrationMethod) -> Range:
    try:
        return _METHODS[method](summary)
    except QuantizationError as error:
        raise QuantizationError(error.code, error.what, where=tensor, hint=error.hint) from error
