"""Several models timed in turns: ratios to the first, throughput by batch, and what fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.errors import ComparisonError
from edgekit.validate import Entrant, Timings, time_models

Array = np.ndarray[Any, Any]
MILLISECOND = 1_000_000
IMAGES = np.zeros((8, 3, 4, 4), np.float32)


class Clock:
    """Nanoseconds that pass only while a model runs."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Model:
    """Takes a time that grows with the batch: `milliseconds` for one image and `more` for each further one."""

    def __init__(self, clock: Clock, milliseconds: float, more: float = 0.0) -> None:
        self.clock, self.milliseconds, self.more = clock, milliseconds, more
        self.threads, self.runtime = 1, "r 1"

    def __call__(self, images: Array) -> Array:
        self.clock.now += round((self.milliseconds + self.more * (len(images) - 1)) * MILLISECOND)
        return images[:, 0, 0]


class Failing(Model):
    """Does what `instead` does from a batch size on."""

    def __init__(self, clock: Clock, instead: Callable[[], Array], batch: int = 1) -> None:
        super().__init__(clock, 1.0)
        self.instead, self.batch = instead, batch

    def __call__(self, images: Array) -> Array:
        return super().__call__(images) if len(images) < self.batch else self.instead()


def raising(error: Exception) -> Callable[[], Array]:
    def instead() -> Array:
        raise error

    return instead


def timed(clock: Clock, *models: Model, batches: tuple[int, ...] = (1,), **options: Any) -> Timings:
    entrants = [Entrant(f"model {index}", model, IMAGES, batches) for index, model in enumerate(models)]
    twin = Model(clock, models[0].milliseconds)
    return time_models(entrants, twin, **{"frames": 60, "budget_s": 60.0, "clock": clock, **options})


def test_ratios_are_relative_to_the_first_and_a_difference_is_beyond_the_noise() -> None:
    clock = Clock()
    found = timed(clock, Model(clock, 4.0), Model(clock, 2.0), Model(clock, 4.02), Model(clock, 8.0))
    first, faster, equal, slower = found.models
    assert (first.speedup, first.different) == (None, None)
    assert faster.speedup is not None
    assert slower.speedup is not None
    assert (faster.speedup.value, faster.different) == (2.0, True)
    assert equal.different is False
    assert (slower.speedup.value, slower.different) == (0.5, True)
    assert found.noise.ratio.value == 1.0
    assert first.frame_ms.p50 == first.frame_ms.p99 == 4.0
    assert set(first.samples_ms) == {4.0}
    assert len(first.samples_ms) == len(slower.samples_ms) >= 60
    assert first.throughput == ()


def test_one_model_alone_has_its_noise_floor() -> None:
    clock = Clock()
    found = timed(clock, Model(clock, 3.0))
    assert len(found.models) == 1
    assert found.noise.low < 1.0 < found.noise.high


def test_throughput_is_images_a_second_at_each_batch_size() -> None:
    clock = Clock()
    found = timed(clock, Model(clock, 4.0, 4.0), Model(clock, 4.0, 1.0), batches=(1, 4, 8))
    linear, shared = found.models
    assert [own.batch for own in linear.throughput] == [1, 4, 8]
    assert [own.images_per_second for own in linear.throughput] == [250.0, 250.0, 250.0]
    assert [round(own.images_per_second) for own in shared.throughput] == [250, 571, 727]
    assert [own.batch_ms.p50 for own in shared.throughput] == [4.0, 7.0, 11.0]


def test_a_model_is_timed_at_the_batch_sizes_that_it_takes() -> None:
    clock = Clock()
    entrants = [
        Entrant("any", Model(clock, 2.0), IMAGES, (1, 8)),
        Entrant("one", Failing(clock, raising(ValueError("batch")), batch=2), IMAGES, (1,)),
    ]
    found = time_models(entrants, Model(clock, 2.0), frames=20, budget_s=60.0, clock=clock)
    assert [own.batch for own in found.models[0].throughput] == [1, 8]
    assert found.models[1].throughput == ()


def test_the_same_name_twice_is_two_models() -> None:
    clock = Clock()
    entrants = [Entrant("same", Model(clock, time, time), IMAGES, (1, 8)) for time in (2.0, 4.0)]
    found = time_models(entrants, Model(clock, 2.0), frames=20, budget_s=60.0, clock=clock)
    assert [own.throughput[1].images_per_second for own in found.models] == [500.0, 250.0]


def test_slow_models_end_near_the_budget_with_ten_frames_of_each() -> None:
    clock = Clock()
    found = timed(clock, Model(clock, 200.0), Model(clock, 100.0), frames=400, budget_s=10.0)
    assert 10 <= len(found.models[0].samples_ms) < 60
    assert clock.now < 12e9
    assert not found.models[0].warm_up.steady


def test_progress_adds_up_to_the_frames_timed_at_each_batch_size() -> None:
    clock = Clock()
    amounts: dict[str, list[int]] = {}

    def start(title: str, total: int | None) -> Callable[[int], None]:
        return amounts.setdefault(title, []).append

    found = timed(clock, Model(clock, 1.0), batches=(1, 8), progress=start)
    assert sum(amounts["timing frames"]) == len(found.models[0].samples_ms)
    assert sum(amounts["timing batches of 8"]) >= 10


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (
            raising(RuntimeError("Non-zero\nstatus")),
            r"EK613 model 1: the model fails on a batch of 1 \(Non-zero status\)",
        ),
        (raising(RuntimeError()), r"the model fails on a batch of 1 \(RuntimeError\)"),
        (lambda: np.array([0.0, np.nan]), "EK613 model 1: the model computes NaN or infinity"),
        (lambda: np.array([np.inf]), "EK613 model 1: the model computes NaN or infinity"),
    ],
)
def test_a_model_that_does_not_work_is_ek613(instead: Callable[[], Array], said: str) -> None:
    clock = Clock()
    with pytest.raises(ComparisonError, match=said):
        timed(clock, Model(clock, 1.0), Failing(clock, instead))


def test_a_model_that_fails_midway_is_ek613_and_says_at_which_batch() -> None:
    clock = Clock()
    with pytest.raises(ComparisonError, match=r"EK613 model 0: the model fails on a batch of 8 \(too large\)"):
        timed(clock, Failing(clock, raising(RuntimeError("too large")), batch=8), batches=(1, 8))


def test_errors_of_edgekit_and_of_memory_stay_what_they_are() -> None:
    clock = Clock()
    for error in (ComparisonError("EK601", "other size", hint="look"), MemoryError()):
        with pytest.raises(type(error)) as caught:
            timed(clock, Failing(clock, raising(error)))
        assert caught.value is error
