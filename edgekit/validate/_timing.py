"""Time per frame of one model, or of two in turns. The clock is an argument; statistics are elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError
from edgekit.results import Latency, LatencySamples, ModelLatency, NoiseFloor
from edgekit.validate._interleave import (
    FEWEST_FRAMES,
    Clock,
    Progress,
    no_garbage_collection,
    time_frame,
    time_in_turns,
    warm_up,
)
from edgekit.validate._noise import noise_floor_of
from edgekit.validate._statistics import Floats, percentiles, ratio_of_medians

DEFAULT_WARMUP: Final = 10
DEFAULT_FRAMES: Final = 200
DEFAULT_BUDGET_S: Final = 10.0
_WARMUP_SHARE: Final = 0.2  # of the budget
_NS_PER_MS: Final = 1e6


class TimedModel(Protocol):
    """A model that can be timed; `Runner` is one."""

    @property
    def threads(self) -> int:
        """Threads that one frame may use."""

    @property
    def runtime(self) -> str:
        """Name and version of what runs the model."""

    def __call__(self, images: NDArray[np.float32], /) -> NDArray[Any]:
        """Return the logits of a batch."""


@dataclasses.dataclass(frozen=True)
class TimedPair:
    """Two models timed in turns.

    Attributes:
        latency: What their times come to.
        samples: The times.
        noise: What the same run measured between the baseline and its twin; None without a twin.
    """

    latency: Latency
    samples: LatencySamples
    noise: NoiseFloor | None


def time_pair(
    baseline: TimedModel,
    candidate: TimedModel,
    frame: NDArray[np.float32],
    *,
    twin: TimedModel | None = None,
    warmup: int = DEFAULT_WARMUP,
    frames: int = DEFAULT_FRAMES,
    budget_s: float = DEFAULT_BUDGET_S,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    progress: Progress | None = None,
) -> TimedPair:
    """Time two models on the same frame, interleaved, so that what else the machine does falls on both alike.

    Args:
        baseline: The model that the ratio is relative to.
        candidate: The model under test.
        frame: (1, 3, H, W) float32.
        twin: A second session of the baseline, timed in the same turns: the ratio of the two is noise.
        warmup: Untimed frames of each before the first block.
        frames: Timed frames of each; fewer when the budget ends before, at least ten.
        budget_s: Seconds for the whole; slow models go beyond it for the ten frames.
        seed: Seed of the bootstrap of the ratios.
        clock: Nanoseconds that never go back.
        progress: Called between blocks with the number of frames of each just timed.

    Raises:
        ComparisonError: EK601 when the models may use different numbers of threads.
    """
    models = (baseline, candidate) if twin is None else (baseline, candidate, twin)
    for model in models[1:]:
        if model.threads != baseline.threads:
            raise ComparisonError(
                "EK601",
                f"one model runs on {baseline.threads} threads and the other on {model.threads}",
                hint="open both with the same number of threads",
            )
    start, budget_ns = clock(), budget_s * 1e9
    runs = [functools.partial(model, frame) for model in models]
    with no_garbage_collection():
        round_ns = sum(warm_up(run, warmup, clock, budget_ns * _WARMUP_SHARE / len(runs)) for run in runs)
        left_ns = budget_ns - (clock() - start)
        times = time_in_turns(
            runs, round_ns=round_ns, frames=frames, budget_ns=left_ns, clock=clock, progress=progress
        )  # fmt: skip
    return TimedPair(
        _summary(baseline, candidate, times[0], times[1], seed),
        LatencySamples(in_order(times[0]), in_order(times[1])),
        None if twin is None else noise_floor_of(ratio_of_medians(times[0], times[2], seed=seed)),
    )


def compare_latency(
    baseline: TimedModel,
    candidate: TimedModel,
    frame: NDArray[np.float32],
    *,
    warmup: int = DEFAULT_WARMUP,
    frames: int = DEFAULT_FRAMES,
    budget_s: float = DEFAULT_BUDGET_S,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    progress: Progress | None = None,
) -> Latency:
    """Time two models in turns, as `time_pair` does, and return what their times come to.

    Raises:
        ComparisonError: EK601 when the two may use different numbers of threads.
    """
    return time_pair(
        baseline, candidate, frame,
        warmup=warmup, frames=frames, budget_s=budget_s, seed=seed, clock=clock, progress=progress,
    ).latency  # fmt: skip


def noise_floor(
    model: TimedModel,
    frame: NDArray[np.float32],
    *,
    twin: TimedModel | None = None,
    warmup: int = DEFAULT_WARMUP,
    frames: int = DEFAULT_FRAMES,
    budget_s: float = DEFAULT_BUDGET_S,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    progress: Progress | None = None,
) -> NoiseFloor:
    """Time a model against itself, as two models are timed; `time_pair` with a twin does so beside a candidate.

    Args:
        model: The model.
        frame: (1, 3, H, W) float32.
        twin: A second session of it, whose memory lies elsewhere; None times the one session in both roles.
        warmup: As for `time_pair`.
        frames: As for `time_pair`.
        budget_s: As for `time_pair`.
        seed: As for `time_pair`.
        clock: As for `time_pair`.
        progress: As for `time_pair`.

    Raises:
        ComparisonError: EK601 when the twin may use another number of threads.
    """
    found = compare_latency(
        model, twin or model, frame,
        warmup=warmup, frames=frames, budget_s=budget_s, seed=seed, clock=clock, progress=progress,
    )  # fmt: skip
    return noise_floor_of(found.speedup)


def in_order(blocks: Floats) -> tuple[float, ...]:
    """Return the frames of one model, (blocks, frames of a block), in the order they were timed."""
    return tuple(blocks.ravel().tolist())


def _summary(baseline: TimedModel, candidate: TimedModel, first: Floats, second: Floats, seed: int) -> Latency:
    same = baseline.runtime == candidate.runtime
    return Latency(
        baseline_ms=percentiles(first),
        candidate_ms=percentiles(second),
        speedup=ratio_of_medians(first, second, seed=seed),
        threads=baseline.threads,
        runtime=baseline.runtime if same else f"{baseline.runtime} / {candidate.runtime}",
        frames=first.size,
    )


def latency(
    model: TimedModel,
    frame: NDArray[np.float32],
    *,
    warmup: int = DEFAULT_WARMUP,
    frames: int = DEFAULT_FRAMES,
    budget_s: float = DEFAULT_BUDGET_S,
    clock: Clock = time.perf_counter_ns,
    progress: Progress | None = None,
) -> ModelLatency:
    """Time one model alone.

    Args:
        model: The model.
        frame: (1, 3, H, W) float32.
        warmup: Untimed frames before the first timed one.
        frames: Timed frames; fewer when the budget ends before, at least ten.
        budget_s: Seconds for the whole; slow models go beyond it for the ten frames.
        clock: Nanoseconds that never go back.
        progress: Called with the number of frames just timed.
    """
    start, budget_ns = clock(), budget_s * 1e9
    times: list[int] = []
    fewest = min(frames, FEWEST_FRAMES)
    run = functools.partial(model, frame)
    with no_garbage_collection():
        warm_up(run, warmup, clock, budget_ns * _WARMUP_SHARE)
        while len(times) < frames and (len(times) < fewest or clock() - start <= budget_ns):
            times.append(time_frame(run, clock))
            if progress is not None:
                progress(1)
    milliseconds = np.array(times, dtype=np.float64) / _NS_PER_MS
    return ModelLatency(percentiles(milliseconds), model.threads, model.runtime, len(times))
