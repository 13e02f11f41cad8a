"""The verdict of the gate on what was measured, limit by limit."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ComparisonError, UsageError
from edgekit.results import Check, LatencySamples, NoiseFloor, Outcome
from edgekit.spec import Interval
from edgekit.validate.gate import Evidence, Limits, SizeLimit, judge_evidence, ratio_of_p99, worst

QUIET = NoiseFloor(Interval(1.0, 0.99, 1.01), low=0.98, high=1.02)
# As a healthy int8 file has on 1,000 images: 13 answers changed, 5 of them for the better.
HEALTHY = Evidence(False, 1000, 5, 8, 987, 3_000_000, 900_000)
SAME = Evidence(True, 40, 0, 0, 40, 1000, 1000, Interval(1, 1, 1), Interval(1, 1, 1), QUIET)


def check(evidence: Evidence, **limits: Any) -> Check:
    (found,) = judge_evidence(evidence, Limits(**limits))
    return found


def timed(value: float, low: float, high: float, noise: NoiseFloor | None = QUIET) -> Evidence:
    return dataclasses.replace(HEALTHY, speedup=Interval(value, low, high), noise=noise)


def test_the_same_model_passes_every_limit_that_asks_for_no_gain() -> None:
    limits = Limits(0.0, 100.0, SizeLimit(1.0, "ratio"), 1.0, 1.0)
    checks = judge_evidence(SAME, limits)
    assert [found.name for found in checks] == list(limits.names)
    assert {found.outcome for found in checks} == {"pass"}
    assert checks[0].reason == "no difference: both are the same model"
    assert (checks[0].low, checks[0].high) == (0.0, 0.0)


def test_the_same_model_fails_where_a_gain_is_asked_for() -> None:
    assert check(SAME, max_drop=-0.5).outcome == "fail"
    assert check(SAME, min_speedup=1.5).outcome == "fail"


def test_a_healthy_file_passes_on_a_thousand_images() -> None:
    found = check(HEALTHY, max_drop=1.0)
    assert (found.outcome, found.unit) == ("pass", "points")
    assert found.measured == pytest.approx(0.3)
    assert found.low < 0.3 < found.high <= 1.0
    assert found.reason == "a drop of more than 1 point is ruled out"


def test_a_drop_shown_to_be_beyond_the_limit_fails() -> None:
    found = check(dataclasses.replace(HEALTHY, gained=5, lost=45), max_drop=2.0)
    assert (found.outcome, found.reason) == ("fail", "a drop of at most 2 points is ruled out")
    assert found.low > 2.0


def test_few_images_leave_it_open_and_it_says_how_many_would_decide() -> None:
    few = Evidence(False, 40, 0, 1, 39, 1, 1)
    found = check(few, max_drop=5.0)
    assert found.outcome == "inconclusive"
    needed = re.fullmatch(r"40 images leave it open; about ([\d,]+) like them would decide", found.reason)
    assert needed is not None
    times = int(needed[1].replace(",", "")) / 40
    many = dataclasses.replace(few, images=round(40 * times), lost=round(times))
    assert check(many, max_drop=5.0).outcome == "pass"
    fewer = dataclasses.replace(few, images=round(40 * 0.8 * times), lost=round(0.8 * times))
    assert check(fewer, max_drop=5.0).outcome == "inconclusive"


def test_a_drop_on_the_limit_itself_is_never_decided() -> None:
    found = check(Evidence(False, 1000, 0, 10, 990, 1, 1), max_drop=1.0)
    assert found.outcome == "inconclusive"
    assert found.reason.endswith("so near the limit that no number of images is likely to decide")


@pytest.mark.parametrize(("images", "outcome"), [(40, "inconclusive"), (1000, "pass")])
def test_no_image_lost_shows_no_drop_only_where_there_are_enough(images: int, outcome: Outcome) -> None:
    assert check(Evidence(False, images, 0, 0, images, 1, 1), max_drop=1.0).outcome == outcome


def test_these_images_alone_are_counted_without_statistics() -> None:
    few = Evidence(False, 40, 0, 1, 39, 1, 1)
    found = check(few, max_drop=2.5, these_images=True)
    assert (found.outcome, found.low, found.high) == ("pass", 2.5, 2.5)
    assert "these 40 images" in found.reason
    assert check(few, max_drop=2.4, these_images=True).outcome == "fail"
    assert check(few, min_agreement=97.5, these_images=True).outcome == "pass"


@pytest.mark.parametrize(("limit", "outcome"), [(97.0, "pass"), (98.5, "inconclusive"), (99.8, "fail")])
def test_agreement_is_judged_by_its_interval(limit: float, outcome: Outcome) -> None:
    found = check(HEALTHY, min_agreement=limit)
    assert (found.outcome, found.unit) == (outcome, "percent")
    assert found.measured == pytest.approx(98.7)


def test_a_size_is_what_it_is() -> None:
    assert check(HEALTHY, max_size=SizeLimit(900_000, "bytes")).outcome == "pass"
    assert check(HEALTHY, max_size=SizeLimit(899_999, "bytes")).outcome == "fail"
    ratio = check(HEALTHY, max_size=SizeLimit(0.3, "ratio"))
    assert (ratio.outcome, ratio.unit) == ("pass", "ratio")
    assert ratio.measured == pytest.approx(0.3)
    assert check(HEALTHY, max_size=SizeLimit(0.29, "ratio")).outcome == "fail"


@pytest.mark.parametrize(("limit", "outcome"), [(1.5, "pass"), (2.0, "inconclusive"), (2.5, "fail")])
def test_a_speed_up_whose_interval_holds_the_limit_is_inconclusive(limit: float, outcome: Outcome) -> None:
    assert check(timed(2.0, 1.9, 2.1), min_speedup=limit).outcome == outcome


def test_the_noise_of_the_machine_widens_the_interval() -> None:
    loud = NoiseFloor(Interval(1.0, 0.9, 1.1), low=0.8, high=1.25)
    assert check(timed(2.0, 1.99, 2.01), min_speedup=1.9).outcome == "pass"
    found = check(timed(2.0, 1.99, 2.01, loud), min_speedup=1.9)
    assert (found.outcome, found.low, found.high) == ("inconclusive", 1.6, 2.5)


def test_a_ratio_within_the_noise_is_no_difference() -> None:
    found = check(timed(0.985, 0.984, 0.986), min_speedup=1.0)
    assert found.outcome == "pass"
    assert found.reason == "no difference measured: this machine measures 0.98x to 1.02x between a model and itself"
    assert check(timed(0.985, 0.984, 0.986, None), min_speedup=1.0).outcome == "fail"
    # No difference is not the gain that was asked for.
    assert check(timed(1.01, 1.0, 1.02), min_speedup=1.2).outcome == "fail"


def test_the_99th_percentile_is_compared_with_its_own_interval() -> None:
    steady = tuple(1.0 + 0.001 * (frame % 10) for frame in range(400))
    slow = tuple(2 * time for time in steady)
    ratio = ratio_of_p99(LatencySamples(steady, slow))
    assert ratio.value == pytest.approx(2.0)
    assert ratio.low <= ratio.value <= ratio.high
    evidence = dataclasses.replace(HEALTHY, p99_ratio=ratio)
    assert check(evidence, max_p99_ratio=1.1).outcome == "fail"
    assert check(evidence, max_p99_ratio=2.5).outcome == "pass"


def test_one_slow_frame_shows_nothing_about_the_99th_percentile() -> None:
    steady = (1.0,) * 200
    ratio = ratio_of_p99(LatencySamples(steady, (*steady[:-3], 9.0, 9.0, 9.0)))
    assert ratio.low == 1.0
    assert ratio.high > 5
    assert check(dataclasses.replace(HEALTHY, p99_ratio=ratio), max_p99_ratio=1.2).outcome == "inconclusive"


@pytest.mark.parametrize("limits", [{"min_speedup": 1.0}, {"max_p99_ratio": 1.1}])
def test_a_limit_of_time_without_timing_is_ek635(limits: dict[str, float]) -> None:
    with pytest.raises(ComparisonError, match=r"EK635 .*time was not measured"):
        check(HEALTHY, **limits)


def test_a_limit_of_accuracy_without_labels_is_ek635_and_agreement_needs_none() -> None:
    unlabelled = dataclasses.replace(HEALTHY, gained=None, lost=None)
    with pytest.raises(ComparisonError, match=r"EK635 max_drop: .*no labels"):
        check(unlabelled, max_drop=1.0)
    assert check(unlabelled, min_agreement=95.0).outcome == "pass"


def test_the_worst_check_decides() -> None:
    assert worst(["pass", "inconclusive", "fail"]) == "fail"
    assert worst(["pass", "inconclusive"]) == "inconclusive"
    assert worst(["pass"]) == "pass"
    assert worst([]) == "pass"


ORDER = {"fail": 0, "inconclusive": 1, "pass": 2}
shares = st.integers(0, 30)


@settings(max_examples=40)
@given(shares, shares, st.integers(70, 2000), st.floats(-5, 20), st.floats(0, 5), st.booleans())
def test_a_laxer_limit_is_never_harder(
    gained: int, lost: int, images: int, limit: float, more: float, these: bool
) -> None:
    evidence = Evidence(False, images, gained, lost, images - gained - lost, 1, 1)
    strict, lax = (check(evidence, max_drop=drop, these_images=these) for drop in (limit, limit + more))
    assert ORDER[strict.outcome] <= ORDER[lax.outcome]
    assert strict.low <= strict.measured <= strict.high


@settings(max_examples=60)
@given(st.floats(0.5, 2), st.floats(0.5, 1), st.floats(1, 2), st.floats(0.3, 3), st.floats(0, 1))
def test_a_laxer_limit_of_time_is_never_harder(value: float, down: float, up: float, limit: float, less: float) -> None:
    noise = NoiseFloor(Interval(1.0, down, up), down, up)
    evidence = timed(value, value * 0.99, value * 1.01, noise)
    strict, lax = (check(evidence, min_speedup=ratio) for ratio in (limit, max(limit - less, 0.01)))
    assert ORDER[strict.outcome] <= ORDER[lax.outcome]


@pytest.mark.parametrize(
    ("limits", "option"),
    [
        ({"max_drop": float("nan")}, "--max-drop"),
        ({"min_agreement": 101.0}, "--min-agreement"),
        ({"min_speedup": 0.0}, "--min-speedup"),
        ({"max_p99_ratio": float("inf")}, "--max-p99-ratio"),
        ({"max_size": SizeLimit(0, "bytes")}, "--max-size"),
    ],
)
def test_a_limit_that_can_be_none_is_ek001(limits: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=f"EK001 {option}"):
        Limits(**limits)


def test_a_size_is_bytes_or_a_ratio_and_nothing_in_between() -> None:
    assert SizeLimit.of("1500000", where="") == SizeLimit(1_500_000, "bytes")
    assert SizeLimit.of("0.3x", where="") == SizeLimit(0.3, "ratio")
    for text in ("0.3", "3MB", "x", "-1", "1e6", ""):
        with pytest.raises(UsageError, match="EK001 --max-size"):
            SizeLimit.of(text, where="--max-size")
