"""TensorRT's calibration cache: one line for each tensor, the scale as big-endian float32."""

from __future__ import annotations

import struct

import pytest

from edgekit.calibrate import tensorrt_cache_text
from edgekit.errors import QuantizationError
from edgekit.spec import Range


def test_the_text_is_what_tensorrt_reads() -> None:
    text = tensorrt_cache_text({"input": Range(-127.0, 127.0), "conv1": Range(0.0, 254.0), "fc:0": Range(-63.5, 1.0)})
    assert text == "TRT-8601-EntropyCalibration2\ninput: 3f800000\nconv1: 40000000\nfc:0: 3f000000\n"


def test_the_scale_is_the_largest_magnitude_over_127() -> None:
    line = tensorrt_cache_text({"a": Range(-2.5, 1.0)}).splitlines()[1]
    name, digits = line.rsplit(": ", 1)
    assert name == "a"
    assert struct.unpack(">f", bytes.fromhex(digits))[0] == pytest.approx(2.5 / 127, rel=1e-7)


def test_the_version_line_can_be_chosen() -> None:
    assert tensorrt_cache_text({}, "TRT-8203-EntropyCalibration2") == "TRT-8203-EntropyCalibration2\n"
    with pytest.raises(ValueError, match="one line"):
        tensorrt_cache_text({}, "a\nb")


def test_a_tensor_that_is_always_zero_gets_a_scale_above_zero() -> None:
    assert tensorrt_cache_text({"dead": Range(0.0, 0.0)}) == tensorrt_cache_text({"dead": Range(0.0, 1.0)})


@pytest.mark.parametrize("name", ["two\nlines", "", "two\rlines"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(QuantizationError, match="EK502"):
        tensorrt_cache_text({name: Range(0.0, 1.0)})


@pytest.mark.parametrize("high", [float("inf"), float("nan"), 1e50, 1e-50])
def test_a_range_without_a_float32_scale_is_refused_by_name(high: float) -> None:
    with pytest.raises(QuantizationError, match="EK502 conv1: no float32 scale"):
        tensorrt_cache_text({"conv1": Range(0.0, high)})
