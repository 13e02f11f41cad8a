"""When a candidate passes."""

from __future__ import annotations

import pytest

from edgekit.errors import UsageError
from edgekit.results import Drift
from edgekit.spec import Interval
from edgekit.validate import verdict


def drifted(*, top1: float | None = None, agreement: float = 97.0) -> Drift:
    return Drift(
        top1_delta_pp=None if top1 is None else Interval(top1, top1 - 1, top1 + 1),
        agreement=Interval(agreement, agreement - 1, agreement + 1),
        kl=Interval(0.01, 0.008, 0.012),
        sqnr_db=Interval(25, 24, 26),
        n=400,
    )


def test_without_a_limit_everything_passes() -> None:
    found = verdict(drifted(top1=-50.0), max_drop=None)
    assert found.passed
    assert found.reason == (
        "top-1 accuracy fell by 50.00 points (95 % interval of the loss 49.00 to 51.00); no limit was given"
    )


@pytest.mark.parametrize(("change", "passed"), [(0.0, True), (1.0, True), (-0.5, True), (-0.75, False)])
def test_a_drop_of_top1_beyond_the_limit_fails(change: float, passed: bool) -> None:
    assert verdict(drifted(top1=change), max_drop=0.5).passed is passed


def test_a_drop_of_exactly_the_limit_passes_in_spite_of_rounding() -> None:
    assert verdict(drifted(top1=100 * (0.6 - 0.9)), max_drop=30.0).passed


def test_with_labels_agreement_does_not_decide() -> None:
    assert verdict(drifted(top1=0.0, agreement=50.0), max_drop=1.0).passed


def test_without_labels_agreement_decides() -> None:
    assert verdict(drifted(agreement=97.0), max_drop=3.0).passed
    failed = verdict(drifted(agreement=97.0), max_drop=2.5)
    assert not failed.passed
    assert failed.reason == (
        "agreement (there are no labels) fell by 3.00 points (95 % interval of the loss 2.00 to 4.00), "
        "more than the 2.5 points allowed"
    )


def test_the_reason_says_what_moved_and_how_certain_it_is() -> None:
    assert verdict(drifted(top1=-0.25), max_drop=0.5).reason == (
        "top-1 accuracy fell by 0.25 points (95 % interval of the loss -0.75 to 1.25), within the 0.5 points allowed"
    )
    assert verdict(drifted(top1=0.25), max_drop=0.5).reason.startswith("top-1 accuracy rose by 0.25 points")
    assert verdict(drifted(top1=0.0), max_drop=0.5).reason.startswith("top-1 accuracy did not change (")


@pytest.mark.parametrize("limit", [float("nan"), float("inf")])
def test_a_limit_that_is_no_number_is_ek001(limit: float) -> None:
    with pytest.raises(UsageError, match="EK001 --max-drop"):
        verdict(drifted(top1=0.0), max_drop=limit)
