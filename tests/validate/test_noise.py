"""What is called a difference of two times, and how often that is wrong."""

from __future__ import annotations

import math

import pytest
from noise_simulation import MACHINES, simulated

from edgekit.spec import Interval
from edgekit.validate import is_different, noise_floor_of

FLOOR = noise_floor_of(Interval(1.0, 0.95, 1.02))


@pytest.mark.parametrize("ratio", [Interval(1.0, 0.95, 1.02), Interval(0.98, 0.96, 1 / 0.95)])
def test_the_floor_reaches_as_far_as_the_farther_end_of_what_a_model_and_itself_differ(ratio: Interval) -> None:
    floor = noise_floor_of(ratio)
    assert floor.ratio is ratio
    assert floor.low == pytest.approx(0.95)
    assert floor.high == pytest.approx(1 / 0.95)


def test_the_floor_is_never_below_one_percent() -> None:
    floor = noise_floor_of(Interval(1.0, 1.0, 1.0))
    assert floor.low == pytest.approx(1 / 1.01)
    assert floor.high == pytest.approx(1.01)


def test_which_of_two_sessions_comes_first_does_not_matter() -> None:
    floor, turned = noise_floor_of(Interval(1.1, 1.05, 1.2)), noise_floor_of(Interval(1 / 1.1, 1 / 1.2, 1 / 1.05))
    assert math.isclose(floor.low, turned.low)
    assert math.isclose(floor.high, turned.high)


@pytest.mark.parametrize(
    ("speedup", "different"),
    [
        (Interval(1.20, 1.15, 1.25), True),
        (Interval(0.80, 0.75, 0.85), True),
        (Interval(1.04, 1.03, 1.05), False),  # inside the floor, however narrow its own interval
        (Interval(1.20, 0.95, 1.45), False),  # outside the floor, but of two models that vary more
        (Interval(1.00, 1.00, 1.00), False),
    ],
)
def test_a_difference_is_outside_the_floor_and_its_interval_leaves_one_out(speedup: Interval, different: bool) -> None:
    assert is_different(speedup, FLOOR) is different


@pytest.mark.parametrize("blocks", [5, 20])
@pytest.mark.parametrize("machine", MACHINES)
def test_equal_models_are_told_apart_in_at_most_one_of_twenty_runs(machine: str, blocks: int) -> None:
    share, _ = simulated(MACHINES[machine], blocks, 200)
    assert share <= 0.05


@pytest.mark.parametrize(("machine", "gain"), [("quiet", 0.03), ("white", 0.10), ("bursts", 0.10), ("drifting", 0.10)])
def test_a_real_gain_is_seen(machine: str, gain: float) -> None:
    share, _ = simulated(MACHINES[machine], 40, 50, gain=gain)
    assert share >= 0.9
