"""Ranges as TensorRT's calibration cache, which its builders before version 11 read in place of images."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

from edgekit.calibrate._minmax import around_zero
from edgekit.errors import QuantizationError
from edgekit.spec import Range

TENSORRT_VERSION_LINE = "TRT-8601-EntropyCalibration2"
_LARGEST_INTEGER = 127
# Of float32, without the denormal numbers.
_SMALLEST_SCALE, _LARGEST_SCALE = 2.0**-126, 2.0**127


def tensorrt_cache_text(ranges: Mapping[str, Range], version_line: str = TENSORRT_VERSION_LINE) -> str:
    """Return the text of a calibration cache: `version_line`, then `tensor: scale` for each tensor.

    The scale is the largest magnitude of the range over 127, as the eight hexadecimal digits of a big-endian
    float32. A tensor that is always zero gets the magnitude 1, because its scale must be positive.

    Args:
        ranges: Range of each tensor; `ranges(..., symmetric=True)` searched them for this form.
        version_line: Which TensorRT and which calibrator the cache is for. TensorRT ignores the cache when
            it does not recognise this.

    Raises:
        QuantizationError: EK502 naming the tensor whose name has a line break, or whose range is not finite.
        ValueError: `version_line` is not one line.
    """
    if len(version_line.splitlines()) != 1:
        raise ValueError(f"{version_line!r} is not one line")
    lines = [version_line, *(f"{tensor}: {_scale(tensor, interval)}" for tensor, interval in ranges.items())]
    return "\n".join(lines) + "\n"


def _scale(tensor: str, interval: Range) -> str:
    if len(tensor.splitlines()) != 1:
        raise QuantizationError(
            "EK502",
            "a calibration cache cannot hold this name of a tensor, which is not one line",
            where=repr(tensor),
            hint="rename the tensor",
        )
    scale = (around_zero(interval).high or 1.0) / _LARGEST_INTEGER
    finite = math.isfinite(interval.low) and math.isfinite(interval.high)
    if not (finite and _SMALLEST_SCALE <= scale <= _LARGEST_SCALE):
        raise QuantizationError(
            "EK502",
            f"no float32 scale fits the range from {interval.low} to {interval.high}",
            where=tensor,
            hint="check the calibration images and the preprocessing",
        )
    return struct.pack(">f", scale).hex()
