"""Scales, zero points and rounding keep their promises for every input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgekit.quantize._parameters import (
    INT32_MAX,
    activation_parameters,
    bias_scale,
    fit_bias,
    quantized_bias,
    quantized_weight,
    weight_parameters,
)
from edgekit.spec import Range

reals = st.floats(-1e6, 1e6, width=32)
small_weights = npst.arrays(
    np.float32, npst.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.floats(-8, 8, width=32)
)


@given(reals, reals)
def test_zero_is_an_integer_and_every_value_of_the_range_is_within_half_a_step(first: float, second: float) -> None:
    low, high = min(first, second, 0.0), max(first, second, 0.0)
    parameters = activation_parameters(Range(low, high))
    (scale,), (zero_point,) = parameters.scale, parameters.zero_point
    assert scale > 0
    assert scale == float(np.float32(scale))
    assert 0 <= zero_point <= 255
    values = np.linspace(low, high, 101)
    integers = np.clip(np.rint(values / scale) + zero_point, 0, 255)
    assert np.abs((integers - zero_point) * scale - values).max() <= scale * 0.5001


def test_a_range_beside_zero_is_widened_to_hold_it() -> None:
    assert activation_parameters(Range(2.0, 4.0)) == activation_parameters(Range(0.0, 4.0))
    assert activation_parameters(Range(-4.0, -2.0)).zero_point == (255,)


def test_a_tensor_that_is_always_zero_gets_a_positive_scale() -> None:
    assert activation_parameters(Range(0.0, 0.0)).scale == (float(np.float32(1 / 255)),)


def test_the_top_of_relu6_is_the_largest_integer() -> None:
    parameters = activation_parameters(Range(0.0, 6.0))
    assert parameters.zero_point == (0,)
    assert 255 * parameters.scale[0] == pytest.approx(6.0, rel=1e-7)


@given(small_weights, st.data())
def test_weights_stay_within_a_step_and_channels_keep_their_sum(
    weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]], data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, weight.ndim - 1))
    parameters = weight_parameters(weight, axis)
    integers = np.moveaxis(quantized_weight(weight, parameters), axis, 0).reshape(weight.shape[axis], -1)
    exact = np.moveaxis(weight.astype(np.float64), axis, 0).reshape(integers.shape)
    scale = np.array(parameters.scale)[:, None]
    assert (scale > 0).all()
    assert integers.min() >= -127
    assert np.abs(integers * scale - exact).max(initial=0.0) <= scale.max() * 1.0001
    assert (np.abs((integers * scale - exact).sum(axis=1)) <= scale[:, 0] * 0.501).all()


@given(small_weights)
def test_a_weight_of_zero_stays_zero(weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    integers = quantized_weight(weight, weight_parameters(weight, 0))
    assert not integers[weight == 0].any()


def test_a_dead_channel_takes_the_median_scale_of_the_others() -> None:
    weight = np.array([[1.27], [0.0], [2.54], [3.81]], np.float32)
    assert weight_parameters(weight, 0).scale == pytest.approx([0.01, 0.02, 0.02, 0.03])
    assert weight_parameters(np.zeros((2, 3), np.float32), 0).scale == pytest.approx([1 / 127] * 2)


@given(
    st.floats(0, 2.0**20, width=32),
    st.floats(2.0**-40, 1.0, width=32),
    st.sampled_from([0.0, 1e-38, 1e-20, 1e-6, 1.0]),
    st.integers(1, 10_000),
)
def test_a_bias_and_its_sum_of_products_never_overflow_int32(
    bias: float, input_scale: float, magnitude: float, products: int
) -> None:
    weight = np.full((1, 1), magnitude, np.float32)
    values = np.array([bias], np.float32)
    parameters, _ = fit_bias(weight_parameters(weight, 0), values, input_scale, products)
    integers = quantized_bias(values, bias_scale(parameters, input_scale))
    assert abs(int(integers[0])) + 255 * 127 * products <= INT32_MAX + 256  # float32 rounding of the step
    step = float(bias_scale(parameters, input_scale)[0])
    assert abs(int(integers[0]) * step - float(values[0])) <= step * 0.5001 + float(values[0]) * 1e-6


def test_only_the_channel_whose_bias_does_not_fit_gets_a_wider_scale() -> None:
    weight = np.array([[1.0], [1e-12]], np.float32)
    before = weight_parameters(weight, 0)
    after, raised = fit_bias(before, np.array([1.0, 1.0], np.float32), 0.02, 1)
    assert raised == (1,)
    assert after.scale[0] == before.scale[0]
    assert after.scale[1] > before.scale[1]
