"""Confidence intervals against scipy, against their definition, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from edgekit.spec import Interval
from edgekit.validate._statistics import (
    Floats,
    bootstrap_of_sums,
    paired_difference_points,
    percentiles,
    proportion_percent,
    ratio_of_medians,
)


def mean(sums: Floats) -> Floats:
    result: Floats = sums[..., 0] / np.maximum(sums[..., 1], 1)
    return result


def ratio(sums: Floats) -> Floats:
    result: Floats = sums[..., 0] / sums[..., 1]
    return result


def with_count(values: Floats) -> Floats:
    return np.stack([values, np.ones(len(values))], axis=1)


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 40), (1, 3), (190, 200), (99_999, 100_000)])
def test_the_interval_of_a_proportion_is_that_of_scipy(successes: int, trials: int, confidence: float) -> None:
    found = proportion_percent(successes, trials, confidence=confidence)
    scipys = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert found.value == pytest.approx(100 * successes / trials)
    assert (found.low, found.high) == pytest.approx((100 * scipys.low, 100 * scipys.high), rel=1e-12, abs=1e-12)


def test_full_agreement_is_100_percent_yet_not_certain() -> None:
    found = proportion_percent(1000, 1000)
    assert (found.value, found.high) == (100.0, 100.0)
    assert found.low == pytest.approx(100 * 1000 / (1000 + 1.959963984540054**2))


@pytest.mark.parametrize(
    ("gained", "lost", "trials"), [(3, 9, 400), (9, 3, 400), (40, 12, 100), (0, 7, 500), (1, 1, 3)]
)
def test_the_ends_of_the_paired_interval_are_where_the_score_test_turns(gained: int, lost: int, trials: int) -> None:
    # The closed form against a direct maximisation of the likelihood under each end's difference.
    found = paired_difference_points(gained, lost, trials)
    for end in (found.low / 100, found.high / 100):

        def minus_log_likelihood(loss: float, end: float = end) -> float:
            cells = (gained, loss + end), (lost, loss), (trials - gained - lost, 1 - 2 * loss - end)
            return -sum(count * math.log(max(share, 1e-300)) for count, share in cells if count)

        fit = minimize_scalar(
            minus_log_likelihood,
            bounds=(max(0, -end), (1 - end) / 2),
            method="bounded",
            options={"xatol": 1e-12},
        )
        score = (gained - lost - trials * end) / np.sqrt(trials * (2 * fit.x + end * (1 - end)))
        assert abs(score) == pytest.approx(1.959963984540054, rel=1e-3)


def test_the_paired_interval_does_not_shrink_to_a_point_without_a_difference() -> None:
    found = paired_difference_points(0, 0, 100)
    assert found.value == 0
    assert found.high == pytest.approx(100 * 1.959963984540054**2 / (100 + 1.959963984540054**2))
    assert found.low == -found.high


@given(trials=st.integers(1, 60), data=st.data())
def test_swapping_the_two_models_mirrors_the_paired_interval(trials: int, data: st.DataObject) -> None:
    gained = data.draw(st.integers(0, trials))
    lost = data.draw(st.integers(0, trials - gained))
    there, back = (
        paired_difference_points(gained, lost, trials),
        paired_difference_points(lost, gained, trials),
    )
    assert -100 <= there.low <= there.value <= there.high <= 100
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_the_paired_interval_holds_the_truth_95_times_of_100() -> None:
    generator = np.random.default_rng(7)
    shares = [0.015, 0.03, 0.955]  # gained, lost, the same: a drop of 1.5 points
    outcomes = generator.multinomial(400, shares, size=1000)
    held = sum(holds(paired_difference_points(gained, lost, 400), -1.5) for gained, lost, _ in outcomes.tolist())
    assert 0.93 <= held / 1000 <= 0.97


@pytest.mark.parametrize("size", [5, 60, 700])
def test_the_bca_interval_of_a_mean_is_that_of_scipy(size: int) -> None:
    values = np.random.default_rng(3).gamma(0.5, size=size)
    found = bootstrap_of_sums(with_count(values), mean, resamples=999, seed=11)
    reference = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(11)
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


def test_the_bca_interval_of_a_ratio_is_that_of_scipy() -> None:
    generator = np.random.default_rng(5)
    first, second = generator.gamma(3.0, size=80), generator.gamma(1.0, size=80)
    found = bootstrap_of_sums(np.stack([first, second], axis=1), ratio, resamples=999, seed=2)

    def of_samples(one: Floats, other: Floats, axis: int) -> Floats:
        result: Floats = one.sum(axis=axis) / other.sum(axis=axis)
        return result

    reference = scipy.stats.bootstrap(
        (first, second), of_samples, paired=True, n_resamples=999, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


def test_the_bootstrap_gives_the_same_interval_whatever_it_holds_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = with_count(np.random.default_rng(1).exponential(size=50))
    whole = bootstrap_of_sums(values, mean)
    monkeypatch.setattr("edgekit.validate._statistics._CELLS_AT_ONCE", 7 * 50)
    assert bootstrap_of_sums(values, mean) == whole


def test_equal_values_give_an_interval_without_width() -> None:
    assert bootstrap_of_sums(with_count(np.full(20, 0.25)), mean) == Interval(0.25, 0.25, 0.25)


def test_one_value_gives_itself() -> None:
    assert bootstrap_of_sums(with_count(np.array([3.0])), mean) == Interval(3.0, 3.0, 3.0)


def test_the_bca_interval_of_a_skewed_mean_holds_the_truth_nine_times_of_ten_or_more() -> None:
    generator = np.random.default_rng(13)
    held = sum(
        holds(bootstrap_of_sums(with_count(generator.gamma(2.0, size=100)), mean, resamples=500, seed=seed), 2.0)
        for seed in range(400)
    )
    assert 0.91 <= held / 400 <= 0.985


def test_the_ratio_of_medians_is_that_of_the_pooled_frames() -> None:
    numerator, denominator = np.array([[8.0, 9.0], [10.0, 11.0]]), np.array([[4.0, 5.0], [5.0, 6.0]])
    assert ratio_of_medians(numerator, denominator).value == pytest.approx(9.5 / 5.0)


def test_the_interval_of_the_ratio_is_that_of_scipys_percentile_bootstrap_over_blocks() -> None:
    generator = np.random.default_rng(17)
    numerator, denominator = generator.gamma(50, size=(21, 10)), generator.gamma(20, size=(21, 10))

    def of_blocks(chosen: Floats, axis: int) -> Floats:
        del axis  # scipy asks for the last axis, which holds the numbers of the blocks
        blocks = chosen.astype(np.int64)
        pooled = (*blocks.shape[:-1], -1)
        result: Floats = np.median(numerator[blocks].reshape(pooled), axis=-1) / np.median(
            denominator[blocks].reshape(pooled), axis=-1
        )
        return result

    reference = scipy.stats.bootstrap(
        (np.arange(21.0),), of_blocks, n_resamples=999, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    found = ratio_of_medians(numerator, denominator, resamples=999, seed=4)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


def test_the_speed_up_interval_holds_the_truth_though_frames_of_a_block_are_correlated() -> None:
    generator = np.random.default_rng(19)
    held = 0
    for seed in range(300):
        level = generator.normal(size=(2, 20, 1)) * 0.05  # what the machine did during the block
        times = np.exp(level + generator.normal(size=(2, 20, 10)) * 0.01)
        held += holds(ratio_of_medians(2 * times[0], times[1], resamples=400, seed=seed), 2.0)
    assert 0.89 <= held / 300 <= 0.985


def test_percentiles_are_interpolated_between_frames() -> None:
    found = percentiles(np.arange(101.0))
    assert (found.p50, found.p90, found.p99) == (50.0, 90.0, 99.0)
