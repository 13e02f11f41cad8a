"""Runs that take turns, with a clock that only they move."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgekit.validate._interleave import plan_blocks, time_in_turns, warm_up_until_steady

MILLISECOND = 1_000_000
MUCH_NS = 1e12


class Stage:
    """A clock, the runs that move it, and the order in which they ran."""

    def __init__(self) -> None:
        self.now = 0
        self.order: list[str] = []

    def clock(self) -> int:
        return self.now

    def run(self, name: str, pace: Callable[[int], float]) -> Callable[[], None]:
        """Return a run that takes as many nanoseconds as `pace` says, given the time at which it starts."""

        def run() -> None:
            self.order.append(name)
            self.now += round(pace(self.now))

        return run

    def paced(self, milliseconds: Iterator[float]) -> Callable[[], None]:
        return self.run("", lambda _: next(milliseconds) * MILLISECOND)


def grouped(order: list[str]) -> str:
    """Return who ran, once for several runs in a row."""
    return "".join(name for index, name in enumerate(order) if index == 0 or order[index - 1] != name)


@pytest.mark.parametrize("pair_ms", [0.05, 1.0, 20.0, 90.0, 300.0, 5000.0])
@pytest.mark.parametrize("frames", [10, 50, 200])
@pytest.mark.parametrize("runs", [2, 3, 5])
def test_a_schedule_keeps_within_its_budget_or_to_the_least_it_can_do(pair_ms: float, frames: int, runs: int) -> None:
    plan = plan_blocks(pair_ms * MILLISECOND, frames=frames, budget_ns=10e9, runs=runs)
    cost = plan.blocks * 2 * (plan.stretch + plan.settling) * pair_ms * MILLISECOND
    assert plan.blocks >= 5
    assert cost <= 10e9 or (plan.blocks, plan.stretch) == (5, 1)
    assert 2 * plan.blocks * plan.stretch <= max(frames, 10) + 2 * plan.stretch


def test_each_run_has_each_place_in_the_order_and_goes_there_and_back() -> None:
    stage = Stage()
    runs = [stage.run(name, lambda _: MILLISECOND) for name in "ABC"]
    times = time_in_turns(runs, round_ns=3 * MILLISECOND, frames=60, budget_ns=MUCH_NS, clock=stage.clock)
    assert times.shape == (3, 6, 10)
    assert grouped(stage.order).startswith("ABCBA" + "BCACB" + "CABAC" + "ABCBA")
    assert [stage.order.count(name) for name in "ABC"] == [6 * 14] * 3


def test_a_machine_that_grows_slower_steadily_favours_none_of_three() -> None:
    stage = Stage()
    runs = [stage.run(name, lambda now: 2 * MILLISECOND + now / 1000) for name in "ABC"]
    times = time_in_turns(runs, round_ns=6 * MILLISECOND, frames=300, budget_ns=MUCH_NS, clock=stage.clock)
    assert times[:, -1].mean() > 1.2 * times[:, 0].mean()
    medians = np.median(times, axis=(1, 2))
    assert medians.max() / medians.min() < 1.02


def test_a_warm_up_lasts_until_frames_get_no_faster() -> None:
    stage = Stage()
    falling = iter([20.0] * 5 + [10.0] * 5 + [5.0] * 5 + [4.95] * 100)
    warm, quickest = warm_up_until_steady(stage.paced(falling), stage.clock, MUCH_NS)
    assert (warm.frames, warm.steady) == (25, True)
    assert quickest == 4.95 * MILLISECOND


def test_a_window_slowed_by_other_programs_does_not_prolong_it() -> None:
    stage = Stage()
    disturbed = iter([5.0] * 5 + [50.0] * 5 + [5.0] * 100)
    warm, _ = warm_up_until_steady(stage.paced(disturbed), stage.clock, MUCH_NS)
    assert (warm.frames, warm.steady) == (15, True)


def test_a_model_that_never_settles_ends_at_a_hundred_frames_and_that_is_told() -> None:
    stage = Stage()
    ever_faster = (100 * 0.99**frame for frame in range(1000))
    warm, _ = warm_up_until_steady(stage.paced(ever_faster), stage.clock, MUCH_NS)
    assert (warm.frames, warm.steady) == (100, False)


def test_a_slow_model_ends_its_warm_up_at_the_budget_after_two_frames_at_least() -> None:
    stage = Stage()
    warm, _ = warm_up_until_steady(stage.paced(iter([1000.0] * 100)), stage.clock, 3.5e9)
    assert (warm.frames, warm.steady) == (4, False)
    warm, _ = warm_up_until_steady(stage.paced(iter([1000.0] * 100)), stage.clock, 1.0)
    assert (warm.frames, warm.steady) == (2, False)
