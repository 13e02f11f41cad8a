"""Eight-bit weights that no `pmaddubsw` can overflow on: beyond the promise, onnxruntime itself is asked."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from small_nets import graph, run

from edgekit.quantize import FLAVOURS, flavour_for, plan, quantize_static, saturates_here
from edgekit.quantize._parameters import (
    PAIR_MAX,
    from_rows,
    quantized_weight,
    rows_of,
    weight_parameters,
    within_pairs,
)
from edgekit.spec import Range

kernels = npst.arrays(
    np.float32, npst.array_shapes(min_dims=4, max_dims=4, max_side=5), elements=st.floats(-8, 8, width=32)
)


def pair_sums(rows: np.ndarray[tuple[int, ...], np.dtype[np.int8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    padded = np.pad(rows.astype(np.int64), ((0, 0), (0, rows.shape[1] % 2)))
    sums: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = padded[:, 0::2] + padded[:, 1::2]
    return sums


@given(kernels)
def test_no_two_neighbours_sum_to_more_than_sixteen_bits_hold(
    weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    parameters = weight_parameters(weight, 0, guard_pairs=True)
    integers = quantized_weight(weight, parameters, guard_pairs=True)
    assert np.abs(pair_sums(rows_of(integers, 0))).max() <= PAIR_MAX
    assert 255 * PAIR_MAX < 2**15
    scale = np.asarray(parameters.scale)[:, np.newaxis]
    # Each weight within one step of its value, but for those that had to give way, which is at most by the excess.
    assert np.abs(rows_of(integers, 0) * scale - rows_of(weight, 0)).max() <= scale.max() * 3


@given(npst.arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 9))))
def test_pairs_that_fit_are_left_alone_and_the_others_just_fit(
    rows: np.ndarray[tuple[int, int], np.dtype[np.int8]],
) -> None:
    result = within_pairs(rows)
    before, after = pair_sums(rows), pair_sums(result)
    assert np.abs(after).max() <= PAIR_MAX
    assert np.array_equal(after, np.clip(before, -PAIR_MAX, PAIR_MAX))


@given(kernels, st.integers(0, 3))
def test_rows_and_back(weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]], axis: int) -> None:
    assert np.array_equal(from_rows(rows_of(weight, axis), weight.shape, axis), weight)


def test_the_guard_costs_little_where_weights_look_like_weights() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64, 1, 1)).astype(np.float32)
    plain = np.asarray(weight_parameters(weight, 0).scale)
    guarded = np.asarray(weight_parameters(weight, 0, guard_pairs=True).scale)
    assert (guarded >= plain).all()
    assert (guarded / plain).mean() < 1.3, "a bit less, as reduced range does it, would be 2"


@pytest.mark.parametrize("channels", [3, 16, 17])
def test_onnxruntime_is_exact_on_guarded_weights_whatever_the_processor(channels: int) -> None:
    # All weights large and of one sign, all inputs large: the worst that can be.
    generator = np.random.default_rng(channels)
    weight = generator.uniform(0.8, 1.0, (8, channels, 3, 3)).astype(np.float32)
    model = graph(
        f"""agraph (float[n,{channels},8,8] input) => (float[n,8,6,6] output) {{
            output = Conv <kernel_shape = [3,3]> (input, w)
        }}""",
        w=weight,
    )
    batch = generator.uniform(0.8, 1.0, (2, channels, 8, 8)).astype(np.float32)
    expected = run(model, batch)
    ranges = {"input": Range(0, 1), "output": Range(0, float(expected.max()))}
    step = float(expected.max()) / 255
    guarded, _ = quantize_static(model, plan(model, ranges, FLAVOURS["cpu-avx2"]))
    assert np.abs(run(guarded, batch) - expected).max() < 4 * step
    plain, _ = quantize_static(model, plan(model, ranges, FLAVOURS["cpu"]))
    assert (np.abs(run(plain, batch) - expected).max() > 10 * step) == saturates_here()


def test_cpu_means_this_processor() -> None:
    assert flavour_for("cpu").guards_pairs == saturates_here()
    assert not flavour_for("openvino").guards_pairs


def test_depthwise_weights_are_not_guarded_because_they_need_not_be() -> None:
    model = graph(
        """agraph (float[n,8,8,8] input) => (float[n,8,6,6] output) {
            output = Conv <kernel_shape = [3,3], group = 8> (input, w)
        }""",
        w=np.full((8, 1, 3, 3), 0.9, np.float32),
    )
    decided = plan(model, {"input": Range(0, 1), "output": Range(0, 8.1)}, FLAVOURS["cpu-avx2"])
    assert (decided.integers["w"] == 127).all()
    batch = np.ones((1, 8, 8, 8), np.float32)
    assert np.abs(run(quantize_static(model, decided)[0], batch) - run(model, batch)).max() < 0.05
    onnx.checker.check_model(quantize_static(model, decided)[0])
