"""Beside the histogram: extremes of each channel, mean and variance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgekit.calibrate import Summary, merge, summarise

Values = npt.NDArray[np.float32]
feature_maps = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.just(3), st.integers(1, 3), st.integers(1, 3)),
    elements=st.one_of(st.floats(-6, 6, width=32), st.just(-0.0)),
)


@given(feature_maps)
def test_channels_are_those_of_axis_1(values: Values) -> None:
    summary = summarise(values)
    assert summary.channel_low.dtype == summary.channel_high.dtype == np.float32
    assert np.array_equal(summary.channel_low, values.min(axis=(0, 2, 3)))
    assert np.array_equal(summary.channel_high, values.max(axis=(0, 2, 3)))
    assert (summary.low, summary.high) == (summary.channel_low.min(), summary.channel_high.max())


@given(feature_maps, st.data())
def test_channels_merge_to_the_same_bytes_whatever_the_split(values: Values, data: st.DataObject) -> None:
    whole = summarise(values)
    merged = Summary()
    for index in data.draw(st.permutations(range(len(values)))):
        merged = merge(summarise(values[index : index + 1]), merged)
    assert merged.channel_low.tobytes() == whole.channel_low.tobytes()
    assert merged.channel_high.tobytes() == whole.channel_high.tobytes()
    assert merged.bins.tobytes() == whole.bins.tobytes()


def test_the_features_of_a_linear_layer_are_channels() -> None:
    summary = summarise(np.array([[1, -2, 3], [0, 5, 3]], np.float32))
    assert summary.channel_low.tolist() == [0, -2, 3]
    assert summary.channel_high.tolist() == [1, 5, 3]


def test_other_tensors_have_no_channels() -> None:
    assert summarise(np.ones((2, 3, 4), np.float32)).channel_low.size == 0
    assert summarise(np.ones(5, np.float32), histogram=False).channel_high.size == 0


def test_channels_are_kept_without_a_histogram_too() -> None:
    summary = summarise(np.array([[1, -2], [0, 5]], np.float32), histogram=False)
    assert (summary.channel_low.tolist(), summary.channel_high.tolist()) == ([0, -2], [1, 5])


def test_tensors_with_different_channels_do_not_merge() -> None:
    with pytest.raises(ValueError, match="3 and 2 channels"):
        merge(summarise(np.ones((1, 3), np.float32)), summarise(np.ones((1, 2), np.float32)))


def test_channels_that_are_always_zero_are_dead() -> None:
    values = np.zeros((2, 4, 2, 2), np.float32)
    values[1, 0, 1, 1], values[0, 2] = 0.5, -0.0
    assert summarise(values).dead_channels == (1, 2, 3)
    values[:, 3] = 7
    assert summarise(values).dead_channels == (1, 2)


@given(npst.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1000, 1000, width=32)))
def test_moments_are_those_of_all_values_to_half_a_bin(values: Values) -> None:
    summary = summarise(values)
    half_bin = 2.0**summary.exponent / 2 * (1 + 1e-9) + 1e-30
    exact = values.astype(np.float64)
    assert abs(summary.mean - exact.mean()) <= half_bin
    assert abs(np.sqrt(summary.variance) - exact.std()) <= half_bin
    assert half_bin <= np.abs(exact).max() / 4096 * (1 + 1e-6) + 1e-29


@given(npst.arrays(np.float32, st.integers(2, 50), elements=st.floats(-6, 6, width=32)), st.data())
def test_moments_are_equal_to_the_last_bit_whatever_the_split(values: Values, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, values.size - 1))
    merged = merge(summarise(values[cut:]), summarise(values[:cut]))
    assert (merged.mean, merged.variance) == (summarise(values).mean, summarise(values).variance)


def test_moments_of_a_constant_are_exact() -> None:
    summary = summarise(np.full(1000, np.float32(0.1)))
    assert summary.mean == pytest.approx(float(np.float32(0.1)), rel=1e-12)
    assert summary.variance == pytest.approx(0, abs=1e-24)


def test_there_are_no_moments_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        _ = Summary().mean
    with pytest.raises(ValueError, match="without histogram"):
        _ = summarise(np.ones(2, np.float32), histogram=False).variance
