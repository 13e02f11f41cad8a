"""Time per frame, with a clock that only the models move."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ComparisonError
from edgekit.validate import compare_latency, latency, noise_floor, time_pair

Array = np.ndarray[Any, Any]
FRAME = np.zeros((1, 3, 4, 4), np.float32)
MILLISECOND = 1_000_000


@pytest.fixture(scope="module", autouse=True)
def few_frames() -> None:
    """As many frames as users time by default, here where no model is real."""


class Clock:
    """Nanoseconds that pass only while a model runs."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Paced:
    """A model that takes as long as `pace` says, given the time at which it starts."""

    def __init__(self, clock: Clock, pace: Callable[[int], float], *, threads: int = 1, runtime: str = "r 1") -> None:
        self.clock, self.pace, self.threads, self.runtime = clock, pace, threads, runtime
        self.runs = 0

    def __call__(self, images: Array) -> Array:
        self.runs += 1
        self.clock.now += round(self.pace(self.clock.now))
        return images


def steady(clock: Clock, milliseconds: float, **facts: Any) -> Paced:
    return Paced(clock, lambda _: milliseconds * MILLISECOND, **facts)


def test_a_model_twice_as_fast_has_a_speed_up_of_two() -> None:
    clock = Clock()
    found = compare_latency(steady(clock, 4.0, threads=2), steady(clock, 2.0, threads=2), FRAME, clock=clock)
    assert (found.baseline_ms.p50, found.baseline_ms.p99, found.candidate_ms.p50) == (4.0, 4.0, 2.0)
    assert (found.speedup.value, found.speedup.low, found.speedup.high) == (2.0, 2.0, 2.0)
    assert (found.frames, found.threads, found.runtime) == (200, 2, "r 1")


def test_a_model_against_itself_has_an_interval_around_one() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(40):
        clock = Clock()
        first, second = (Paced(clock, lambda _: 2 * MILLISECOND * float(generator.lognormal(0, 0.1))) for _ in range(2))
        found = compare_latency(first, second, FRAME, clock=clock, seed=seed).speedup
        assert found.value == pytest.approx(1.0, abs=0.05)
        held += found.low <= 1.0 <= found.high
    assert held >= 35


def test_a_machine_that_grows_slower_steadily_favours_neither() -> None:
    def slower_every_frame(clock: Clock) -> Paced:
        return Paced(clock, lambda now: 2 * MILLISECOND + now / 1000)

    clock = Clock()
    alone = [latency(slower_every_frame(clock), FRAME, clock=clock).frame_ms.p50 for _ in range(2)]
    assert alone[1] / alone[0] > 1.2  # one after the other, the second looks slow
    clock = Clock()
    found = compare_latency(slower_every_frame(clock), slower_every_frame(clock), FRAME, clock=clock)
    assert found.speedup.value == pytest.approx(1.0, abs=0.01)


def test_frames_right_after_a_switch_are_not_timed() -> None:
    clock = Clock()
    last: list[Paced] = []

    def colder_after_a_switch(own: list[Paced]) -> Callable[[int], float]:
        def pace(_: int) -> float:
            switched = not last or last[-1] is not own[0]
            last[:] = own
            return (9 if switched else 3) * MILLISECOND

        return pace

    models = []
    for _ in range(2):
        own: list[Paced] = []
        own.append(Paced(clock, colder_after_a_switch(own)))
        models.append(own[0])
    found = compare_latency(models[0], models[1], FRAME, clock=clock)
    assert found.baseline_ms.p99 == found.candidate_ms.p99 == 3.0


def test_warm_up_frames_are_not_timed() -> None:
    clock = Clock()
    model = Paced(clock, lambda now: (50 if now < 200 * MILLISECOND else 1) * MILLISECOND)
    assert latency(model, FRAME, warmup=4, frames=50, clock=clock).frame_ms.p99 == 1.0
    assert model.runs == 54


def test_a_slow_model_ends_at_the_budget() -> None:
    clock = Clock()
    found = compare_latency(steady(clock, 60.0), steady(clock, 30.0), FRAME, clock=clock, budget_s=10.0)
    assert 10 <= found.frames < 200
    assert clock.now <= 10.5e9


def test_a_very_slow_model_still_gives_ten_frames_of_each() -> None:
    clock = Clock()
    first, second = steady(clock, 2000.0), steady(clock, 1000.0)
    assert compare_latency(first, second, FRAME, clock=clock, budget_s=1.0).frames == 10
    assert (first.runs, second.runs) == (12, 12)
    assert latency(steady(clock, 2000.0), FRAME, clock=clock, budget_s=1.0).frames == 10


def test_a_machine_that_turns_slow_midway_ends_at_the_budget_too() -> None:
    clock = Clock()
    first, second = (Paced(clock, lambda now: (1 if now < 0.1e9 else 100) * MILLISECOND) for _ in range(2))
    assert compare_latency(first, second, FRAME, clock=clock, budget_s=5.0).frames < 200
    assert clock.now < 9e9


def test_progress_adds_up_to_the_frames_timed() -> None:
    clock = Clock()
    both: list[int] = []
    found = compare_latency(steady(clock, 1.0), steady(clock, 1.0), FRAME, clock=clock, progress=both.append)
    assert sum(both) == found.frames
    one: list[int] = []
    assert latency(steady(clock, 1.0), FRAME, clock=clock, progress=one.append).frames == sum(one)


def test_garbage_collection_rests_while_frames_are_timed_and_is_restored() -> None:
    clock = Clock()
    seen: set[bool] = set()

    def pace(_: int) -> float:
        seen.add(gc.isenabled())
        return MILLISECOND

    assert gc.isenabled()
    compare_latency(Paced(clock, pace), Paced(clock, pace), FRAME, clock=clock)
    latency(Paced(clock, pace), FRAME, clock=clock)
    assert seen == {False}
    assert gc.isenabled()


def test_two_runtimes_are_both_named() -> None:
    clock = Clock()
    found = compare_latency(steady(clock, 1.0), steady(clock, 1.0, runtime="s 2"), FRAME, clock=clock)
    assert found.runtime == "r 1 / s 2"


def test_different_thread_counts_are_ek601() -> None:
    clock = Clock()
    with pytest.raises(ComparisonError, match="EK601 one model runs on 1 threads and the other on 2"):
        compare_latency(steady(clock, 1.0), steady(clock, 1.0, threads=2), FRAME, clock=clock)


def test_the_frames_of_both_are_kept_in_the_order_they_were_timed() -> None:
    clock = Clock()
    found = time_pair(Paced(clock, lambda now: 1000 + now), steady(clock, 2.0), FRAME, frames=40, clock=clock)
    assert found.latency.frames == len(found.samples.baseline_ms) == len(found.samples.candidate_ms) == 40
    assert list(found.samples.baseline_ms) == sorted(found.samples.baseline_ms)
    assert set(found.samples.candidate_ms) == {2.0}
    assert found.noise is None


def test_a_twin_is_timed_in_the_same_turns_and_gives_the_noise_floor() -> None:
    clock = Clock()
    models = steady(clock, 4.0), steady(clock, 2.0), steady(clock, 4.4)
    found = time_pair(models[0], models[1], FRAME, twin=models[2], clock=clock)
    assert found.latency.speedup.value == 2.0
    assert found.noise is not None
    assert found.noise.ratio.value == pytest.approx(4.0 / 4.4)
    assert found.noise.low == pytest.approx(4.0 / 4.4)
    assert found.noise.high == pytest.approx(1.1)
    assert models[0].runs == models[1].runs == models[2].runs


def test_a_model_can_be_timed_against_itself_alone() -> None:
    clock = Clock()
    generator = np.random.default_rng(0)
    model = Paced(clock, lambda _: 2 * MILLISECOND * float(generator.lognormal(0, 0.1)))
    alone = noise_floor(model, FRAME, clock=clock)
    assert alone.low < alone.ratio.value < alone.high
    assert alone.low * alone.high == pytest.approx(1.0)
    other = noise_floor(steady(clock, 3.0), FRAME, twin=steady(clock, 6.0), clock=clock)
    assert other.ratio.value == 0.5
    assert other.low == pytest.approx(0.5)
    assert other.high == pytest.approx(2.0)


def test_a_twin_with_another_thread_count_is_ek601() -> None:
    clock = Clock()
    with pytest.raises(ComparisonError, match="EK601 one model runs on 1 threads and the other on 2"):
        time_pair(
            steady(clock, 1.0), steady(clock, 1.0), FRAME, twin=steady(clock, 1.0, threads=2), clock=clock
        )  # fmt: skip
