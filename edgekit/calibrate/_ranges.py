"""From summaries to the ranges that tensors are quantized over, by the name of a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgekit.calibrate._entropy import entropy_range
from edgekit.calibrate._minmax import minmax_range, percentile_range
from edgekit.calibrate._mse import mse_range
from edgekit.calibrate._summary import Summary
from edgekit.errors import QuantizationError
from edgekit.spec import CalibrationMethod, Range


class _Method(Protocol):
    def __call__(self, summary: Summary, *, symmetric: bool = False) -> Range: ...


_METHODS: Mapping[CalibrationMethod, _Method] = {
    "auto": percentile_range,
    "minmax": minmax_range,
    "percentile": percentile_range,
    "entropy": entropy_range,
    "mse": mse_range,
}


def ranges(
    summaries: Mapping[str, Summary], method: CalibrationMethod = "auto", *, symmetric: bool = False
) -> dict[str, Range]:
    """Return the range of every tensor by `method`.

    Args:
        summaries: What is known of each tensor.
        method: How a range follows from a summary; `auto` is `percentile`.
        symmetric: Return ranges from -x to x, for int8 with zero point 0.

    Raises:
        QuantizationError: EK502 naming the tensor that has no finite values.
        ValueError: A method other than `minmax`, and a summary that was collected without histogram.
    """
    return {tensor: _named_range(tensor, summary, method, symmetric) for tensor, summary in summaries.items()}


def _named_range(tensor: str, summary: Summary, method: CalibrationMethod, symmetric: bool) -> Range:
    try:
        return _METHODS[method](summary, symmetric=symmetric)
    except QuantizationError as error:
        raise QuantizationError(error.code, error.what, where=tensor, hint=error.hint) from error
