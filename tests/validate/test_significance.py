"""Tests on paired answers: against published numbers, against scipy, and by how often they err in simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.validate._significance import (
    POWER,
    detectable_drop_points,
    gained_and_lost,
    holm,
    images_needed,
    mcnemar_exact,
    non_inferiority,
    paired_bootstrap_points,
    power_to_show,
)
from edgekit.validate._statistics import paired_difference_points


def test_gained_and_lost_are_the_images_that_one_model_alone_gets_right() -> None:
    before, after = np.array([True, True, False, False, True]), np.array([True, False, True, False, False])
    assert gained_and_lost(before, after) == (1, 2)


def test_mcnemars_exact_test_of_a_published_table() -> None:
    # Airway reactivity before and after transplantation: Fagerland, Lydersen and Laake, "Recommended tests and
    # confidence intervals for paired binomial proportions", Statistics in Medicine 33 (2014), 2850-2875.
    assert mcnemar_exact(1, 7) == pytest.approx(0.0703, abs=5e-5)


def test_mcnemars_exact_test_is_that_of_statsmodels() -> None:
    # statsmodels 0.15.0: mcnemar([[0, gained], [lost, 0]], exact=True).pvalue
    assert mcnemar_exact(12, 2) == pytest.approx(0.012939453125)
    assert mcnemar_exact(40, 61) == pytest.approx(0.046044066929342785)


def test_tangos_interval_of_a_published_table() -> None:
    # That of Fagerland, Lydersen and Laake, as above.
    found = paired_difference_points(1, 7, 21)
    assert (found.low, found.high) == pytest.approx((-51.7, -2.6), abs=0.05)


def test_mcnemars_exact_test_is_twice_the_tail_of_a_fair_coin() -> None:
    assert mcnemar_exact(9, 1) == pytest.approx(22 / 1024)
    assert mcnemar_exact(0, 6) == pytest.approx(2 / 64)
    assert mcnemar_exact(3, 3) == 1.0
    assert mcnemar_exact(0, 0) == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_exact_test_does_not_care_which_model_is_first(gained: int, lost: int) -> None:
    assert mcnemar_exact(gained, lost) == mcnemar_exact(lost, gained)
    assert 0 < mcnemar_exact(gained, lost) <= 1


def test_two_models_that_are_equally_good_are_told_apart_in_at_most_5_percent_of_runs() -> None:
    outcomes = np.random.default_rng(3).multinomial(1000, [0.02, 0.02, 0.96], size=2000)
    changed = outcomes[:, 0] + outcomes[:, 1]
    p_values = np.minimum(1, 2 * scipy.stats.binom.cdf(outcomes[:, :2].min(axis=1), changed, 0.5))
    assert mcnemar_exact(*outcomes[0, :2].tolist()) == pytest.approx(p_values[0])
    assert np.mean(p_values < 0.05) <= 0.05


def test_the_paired_bootstrap_is_that_of_scipy_over_the_images() -> None:
    gained, lost, trials = 12, 31, 400
    changes = np.repeat([1.0, -1.0, 0.0], [gained, lost, trials - gained - lost])
    reference = scipy.stats.bootstrap(
        (100 * changes,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = paired_bootstrap_points(gained, lost, trials, resamples=20_000)
    assert found.value == pytest.approx(100 * changes.mean())
    # Both ends fall on whole images: one of 400 is a quarter of a point.
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.26)


def test_the_paired_bootstrap_holds_the_truth_about_95_times_of_100() -> None:
    outcomes = np.random.default_rng(11).multinomial(1000, [0.02, 0.035, 0.945], size=500)
    found = [paired_bootstrap_points(gained, lost, 1000, resamples=500) for gained, lost, _ in outcomes.tolist()]
    held = sum(interval.low <= -1.5 <= interval.high for interval in found)
    assert 0.92 <= held / 500 <= 0.98


def test_the_same_seed_gives_the_same_bootstrap() -> None:
    first, again, other = (paired_bootstrap_points(300, 900, 10_000, resamples=99, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first != other


@given(trials=st.integers(1, 400), margin=st.floats(0.1, 20), data=st.data())
def test_non_inferiority_is_shown_where_tangos_90_percent_interval_excludes_the_margin(
    trials: int, margin: float, data: st.DataObject
) -> None:
    gained = data.draw(st.integers(0, trials))
    lost = data.draw(st.integers(0, trials - gained))
    found = non_inferiority(gained, lost, trials, margin_pp=margin)
    # By its definition, with the estimate under the margin from scipy's maximisation of the likelihood.
    shift = margin / 100
    fit = scipy.optimize.minimize_scalar(
        lambda loss: -_log_likelihood(gained, lost, trials, loss, shift),
        bounds=(shift, (1 + shift) / 2), method="bounded", options={"xatol": 1e-12},
    )  # fmt: skip
    error = np.sqrt(trials * (2 * fit.x - shift - shift**2))
    expected = scipy.stats.norm.sf((gained - lost + trials * shift) / error)
    assert found.p_value == pytest.approx(expected, abs=1e-4)
    assert found.shown == (found.p_value < 0.05)


def _log_likelihood(gained: int, lost: int, trials: int, loss: float, shift: float) -> float:
    cells = ((gained, loss - shift), (lost, loss), (trials - gained - lost, 1 - 2 * loss + shift))
    return sum(count * float(np.log(max(share, 1e-300))) for count, share in cells if count)


def test_a_drop_as_large_as_the_margin_is_taken_for_smaller_in_about_5_percent_of_runs() -> None:
    outcomes = np.random.default_rng(5).multinomial(1000, [0.01, 0.03, 0.96], size=2000)  # a drop of 2 points
    shown = [non_inferiority(gained, lost, 1000, margin_pp=2.0).shown for gained, lost, _ in outcomes.tolist()]
    assert 0.03 <= np.mean(shown) <= 0.065


def test_the_same_answers_are_no_proof_with_few_images_and_are_one_with_many() -> None:
    assert not non_inferiority(0, 0, 40, margin_pp=1.0).shown
    assert non_inferiority(0, 0, 1000, margin_pp=1.0).shown
    # Tango's statistic of no change at all: sqrt(n m / (1 - m)).
    assert non_inferiority(0, 0, 1000, margin_pp=1.0).p_value == pytest.approx(
        scipy.stats.norm.sf(np.sqrt(1000 * 0.01 / 0.99))
    )


@pytest.mark.parametrize(("margin", "p_value"), [(0.0, 1.0), (100.0, 0.0), (150.0, 0.0), (-101.0, 1.0)])
def test_margins_at_and_beyond_the_ends_have_an_answer(margin: float, p_value: float) -> None:
    assert non_inferiority(0, 0, 50, margin_pp=margin).p_value == p_value


def test_the_power_is_that_of_published_software() -> None:
    # G*Power 3.1 manual, McNemar's test after O'Brien (2002): odds ratio 0.25, 40 % discordant pairs, 50 pairs, one
    # side at 5 %. A one-sided test at 5 % is the two-sided one at 10 %.
    assert power_to_show(0.24, 50, 0.4, level=0.1) == pytest.approx(0.8393, abs=1e-4)


def test_the_power_is_how_often_the_test_shows_the_drop_in_simulation() -> None:
    outcomes = np.random.default_rng(7).multinomial(1000, [0.01, 0.03, 0.96], size=4000)  # a drop of 2 points
    changed = outcomes[:, 0] + outcomes[:, 1]
    shown = np.mean(2 * scipy.stats.binom.cdf(outcomes[:, 0], changed, 0.5) < 0.05)
    # Three standard errors of a share of 4,000 runs.
    assert power_to_show(0.02, 1000, 0.04) == pytest.approx(shown, abs=0.02)


@settings(max_examples=30)
@given(images=st.integers(6, 3000), discordant=st.floats(0, 0.3))
def test_the_smallest_drop_that_shows_is_where_the_power_reaches_80_percent(images: int, discordant: float) -> None:
    found = detectable_drop_points(images, discordant)
    assert found is not None
    assert power_to_show(found / 100, images, discordant) == pytest.approx(POWER, abs=1e-3)


def test_more_images_show_a_smaller_drop_and_more_discordance_hides_it() -> None:
    found = [detectable_drop_points(images, 0.02) for images in (100, 1000, 10_000)]
    assert found == sorted(found, key=lambda drop: -(drop or 0))
    assert (detectable_drop_points(1000, 0.05) or 0) > (detectable_drop_points(1000, 0.01) or 0)


def test_five_images_show_no_drop_at_all() -> None:
    assert detectable_drop_points(5, 0.0) is None
    assert detectable_drop_points(6, 0.0) is not None


@settings(max_examples=30)
@given(drop=st.floats(0.01, 1.0), discordant=st.floats(0, 0.3))
def test_so_many_images_are_enough_and_one_fewer_is_not(drop: float, discordant: float) -> None:
    images = images_needed(drop, discordant)
    assert power_to_show(drop, images, discordant) >= POWER
    if images < 5000:  # from there on the number is rounded up
        assert power_to_show(drop, images - 1, discordant) < POWER


def test_the_images_needed_are_those_of_connors_formula_where_they_are_many() -> None:
    drop, discordant = 0.0005, 0.02
    normal = scipy.stats.norm.isf([0.025, 0.2])
    connor = ((normal[0] * discordant**0.5 + normal[1] * (discordant - drop**2) ** 0.5) / drop) ** 2
    assert images_needed(drop, discordant) == pytest.approx(connor, rel=0.01)


def test_holms_correction_is_that_of_statsmodels() -> None:
    # statsmodels 0.15.0: multipletests(p_values, method="holm")[1]
    corrected = (0.04, 0.09, 0.09, 0.025, 0.2, 0.0024)
    assert holm([0.01, 0.04, 0.03, 0.005, 0.2, 0.0004]) == pytest.approx(corrected)
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_corrected_p_value_is_between_its_own_and_bonferronis(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for own, found in zip(p_values, corrected, strict=True):
        assert own <= found <= 1
    assert min(corrected) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    assert np.argsort(p_values, kind="stable").tolist() == np.lexsort((p_values, corrected)).tolist()


def test_of_a_hundred_classes_without_a_change_any_is_found_in_at_most_5_percent_of_runs() -> None:
    generator = np.random.default_rng(9)
    changed = generator.binomial(50, 0.2, (400, 100))
    gained = generator.binomial(changed, 0.5)
    p_values = np.minimum(1, 2 * scipy.stats.binom.cdf(np.minimum(gained, changed - gained), changed, 0.5))
    assert np.mean((p_values < 0.05).any(axis=1)) > 0.5  # uncorrected, most runs would blame some class
    assert np.mean([min(holm(row)) < 0.05 for row in p_values.tolist()]) <= 0.05
