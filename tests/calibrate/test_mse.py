"""The MSE range is that of a direct search on all values."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgekit.calibrate import mse_range, summarise
from edgekit.spec import Range

Values = npt.NDArray[np.float32]


def uint8_error(values: Values, interval: Range) -> float:
    """Quantize every value to uint8 over the interval and back; return the mean squared error."""
    exact = values.astype(np.float64)
    low, high = min(interval.low, 0.0), max(interval.high, 0.0)
    scale = (high - low) / 255
    zero_point = round(-low / scale)
    back = (np.clip(np.round(exact / scale) + zero_point, 0, 255) - zero_point) * scale
    return float(np.mean((back - exact) ** 2))


def int8_error(values: Values, magnitude: float) -> float:
    exact = values.astype(np.float64)
    scale = magnitude / 127
    return float(np.mean((np.clip(np.round(exact / scale), -127, 127) * scale - exact) ** 2))


def of_shape(name: str) -> Values:
    generator = np.random.default_rng(6)
    values: dict[str, npt.NDArray[np.float64]] = {
        "normal": generator.standard_normal(20_000),
        "lopsided": generator.gamma(2.0, 1.0, 20_000) - 0.7,
        "after a ReLU": np.maximum(generator.standard_normal(20_000), 0),
        "heavy tails": generator.standard_t(3, 20_000),
        "outlier": np.append(generator.random(20_000), 20),
        "negative": -generator.gamma(2.0, 1.0, 20_000),
    }
    return values[name].astype(np.float32)


SHAPES = ("normal", "lopsided", "after a ReLU", "heavy tails", "outlier", "negative")


@pytest.mark.parametrize("shape", SHAPES)
def test_no_range_of_a_grid_has_a_smaller_error(shape: str) -> None:
    values = of_shape(shape)
    low, high = float(min(values.min(), 0)), float(max(values.max(), 0))
    grid = np.arange(0.025, 1.001, 0.025)
    lows, highs = ([end * part for part in grid] if end else [0.0] for end in (low, high))
    best = min(uint8_error(values, Range(*ends)) for ends in itertools.product(lows, highs))
    found = mse_range(summarise(values))
    assert uint8_error(values, found) <= best * 1.01
    assert uint8_error(values, found) <= uint8_error(values, Range(low, high)) * (1 + 1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_symmetric_range_of_a_grid_has_a_smaller_error(shape: str) -> None:
    values = of_shape(shape)
    largest = float(np.abs(values).max())
    best = min(int8_error(values, largest * part) for part in np.arange(0.005, 1.001, 0.005))
    found = mse_range(summarise(values), symmetric=True)
    assert found.low == -found.high
    assert int8_error(values, found.high) <= best * 1.01


@settings(deadline=None)
@given(npst.arrays(np.float32, st.integers(2, 60), elements=st.floats(0, 6, width=32)))
def test_whatever_the_values_the_error_is_the_least_to_one_bin(values: Values) -> None:
    summary = summarise(values)
    # Distance to the nearest integer changes no faster than the value, so half a bin either way is all that
    # the histogram can hide.
    found = np.sqrt(uint8_error(values, mse_range(summary))) if summary.high else 0.0
    for part in np.arange(1, 129) / 128:
        if summary.high:
            other = np.sqrt(uint8_error(values, Range(0, summary.high * part)))
            assert found <= other + 2.0**summary.exponent * (1 + 1e-6)


def test_an_outlier_is_cut_where_that_costs_least() -> None:
    bulk = np.random.default_rng(0).random(1_000_000).astype(np.float32)
    # With one value at 3 and n evenly below 1 the error is (3 - x)^2 + n (x / 255)^2 / 12.
    for count in (1_000_000, 20_000):
        least = 3 / (1 + count / 255**2 / 12)
        assert mse_range(summarise(np.append(bulk[:count], np.float32(3)))).high == pytest.approx(least, rel=0.02)


def test_values_that_fill_their_range_evenly_are_hardly_cut() -> None:
    assert mse_range(summarise(np.linspace(0, 6, 100_000, dtype=np.float32))).high > 5.9


def test_the_same_image_again_and_again_has_the_range_of_one() -> None:
    values = of_shape("lopsided")
    assert mse_range(summarise(np.tile(values, 5))) == mse_range(summarise(values))


def test_the_range_stays_within_the_values() -> None:
    values = np.array([2, 3, 4], np.float32)
    found = mse_range(summarise(values))
    assert found.low == 2
    assert 3.9 < found.high <= 4
