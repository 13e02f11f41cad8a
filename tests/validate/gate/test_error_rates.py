"""How often the gate alarms on equally good models, and how often it catches a drop, simulated with `judge` itself."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.validate.gate import Evidence, Limits, judge_evidence

GATES = 20_000
IMAGES = 1000
# What the tests draw; their margins are several times what chance moves these rates by.
FEWER = 4_000


def rates(limit: float, *, changed: float, drop: float, images: int = IMAGES, gates: int = GATES) -> dict[str, float]:
    """Return the percent of gates with each outcome.

    Args:
        limit: `max_drop`, in points.
        changed: Percent of the images that exactly one of the two models gets right.
        drop: True loss of top-1, in points.
        images: Number of images that a gate draws.
        gates: Number of gates.
    """
    gained, lost = (changed - drop) / 200, (changed + drop) / 200
    draws = np.random.default_rng(0).multinomial(images, [gained, lost, 1 - gained - lost], gates)
    outcomes = {"pass": 0.0, "fail": 0.0, "inconclusive": 0.0}
    for (won, missed, _), times in zip(*np.unique(draws, axis=0, return_counts=True), strict=True):
        evidence = Evidence(False, images, int(won), int(missed), images - int(won + missed), 1, 1)
        (check,) = judge_evidence(evidence, Limits(max_drop=limit))
        outcomes[check.outcome] += 100 * float(times) / gates
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("changed", [2, 4, 6])
def test_equally_good_models_alarm_in_less_than_5_of_100_gates(changed: float) -> None:
    # int8 files of the models that ship and of V1 change 1 to 6 percent of the images.
    assert rates(1.0, changed=changed, drop=0, gates=FEWER)["fail"] < 0.5


@pytest.mark.slow
def test_a_drop_of_exactly_the_limit_is_decided_wrongly_in_5_of_100_gates_on_each_side() -> None:
    found = rates(2.0, changed=4, drop=2, gates=FEWER)
    assert found["fail"] == pytest.approx(5, abs=1)
    assert found["pass"] == pytest.approx(5, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "least"), [(3, 60), (6, 30)])
def test_a_real_drop_of_2_points_does_not_get_through_a_limit_of_1(changed: float, least: float) -> None:
    found = rates(1.0, changed=changed, drop=2, gates=FEWER)
    assert found["pass"] < 0.5
    assert found["fail"] > least


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "least"), [(3, 98), (6, 80)])
def test_a_real_drop_of_2_points_is_shown_to_be_one(changed: float, least: float) -> None:
    assert rates(0.0, changed=changed, drop=2, gates=FEWER)["fail"] > least


@pytest.mark.slow
@pytest.mark.parametrize(("changed", "least"), [(2, 99), (4, 90)])
def test_equally_good_models_pass_a_limit_of_2_points(changed: float, least: float) -> None:
    assert rates(2.0, changed=changed, drop=0, gates=FEWER)["pass"] > least
