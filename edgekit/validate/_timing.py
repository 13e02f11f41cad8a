"""Time per frame of one model, or of two in turns. The clock is an argument; statistics are elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError
from edgekit.results import Latency, ModelLatency
from edgekit.validate._statistics import Floats, percentiles, ratio_of_medians

Clock = Callable[[], int]
Progress = Callable[[int], None]

DEFAULT_WARMUP: Final = 10
DEFAULT_FRAMES: Final = 200
DEFAULT_BUDGET_S: Final = 10.0
_WARMUP_SHARE: Final = 0.2  # of the budget
_FEWEST_WARMUP: Final = 2  # the first run allocates memory and plans it
_FEWEST_BLOCKS: Final = 5  # fewer say nothing about their own spread
_LONGEST_STRETCH: Final = 5  # frames of one model in a row
_SETTLING: Final = 2  # frames after a switch: caches are cold and the other model's threads still spin
_SLOW_FRAME_NS: Final = 50_000_000  # from here on a switch is lost in the frame
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
class Schedule:
    """How two models take turns.

    Attributes:
        blocks: Number of blocks; a block is four stretches, A B B A and B A A B by turns, which cancels
            steady drift.
        stretch: Timed frames of one model in a row, so that a block times twice as many of each.
        settling: Frames run and not timed at the start of each stretch.
    """

    blocks: int
    stretch: int
    settling: int


def plan_blocks(pair_ns: float, *, frames: int, budget_ns: float) -> Schedule:
    """Decide how many frames to time, from how long one frame of each took together.

    Never fewer than `_FEWEST_BLOCKS` blocks of one frame a stretch, even where that is more than the budget.
    """
    settling = 0 if pair_ns > 2 * _SLOW_FRAME_NS else _SETTLING
    stretch = max(1, min(_LONGEST_STRETCH, frames // (2 * _FEWEST_BLOCKS)))
    # Long stretches waste fewer frames on settling; where few are affordable, more blocks are worth more.
    while stretch > 1 and _FEWEST_BLOCKS * _block_ns(pair_ns, stretch, settling) > budget_ns:
        stretch -= 1
    affordable = int(budget_ns // _block_ns(pair_ns, stretch, settling))
    wanted = -(-frames // (2 * stretch))
    return Schedule(max(_FEWEST_BLOCKS, min(wanted, affordable)), stretch, settling)


def _block_ns(pair_ns: float, stretch: int, settling: int) -> float:
    return 2 * (stretch + settling) * max(pair_ns, 1.0)


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
    """Time two models on the same frame, interleaved, so that what else the machine does falls on both alike.

    Args:
        baseline: The model that the ratio is relative to.
        candidate: The model under test.
        frame: (1, 3, H, W) float32.
        warmup: Untimed frames of each before the first block.
        frames: Timed frames of each; fewer when the budget ends before, at least ten.
        budget_s: Seconds for the whole; slow models go beyond it for the ten frames.
        seed: Seed of the bootstrap of the speed-up.
        clock: Nanoseconds that never go back.
        progress: Called between blocks with the number of frames of each just timed.

    Raises:
        ComparisonError: EK601 when the two may use different numbers of threads.
    """
    if baseline.threads != candidate.threads:
        raise ComparisonError(
            "EK601",
            f"one model runs on {baseline.threads} threads and the other on {candidate.threads}",
            hint="open both with the same number of threads",
        )
    start, budget_ns = clock(), budget_s * 1e9
    with _no_garbage_collection():
        pair_ns = sum(
            _warm_up(model, frame, warmup, clock, budget_ns * _WARMUP_SHARE / 2) for model in (baseline, candidate)
        )
        plan = plan_blocks(pair_ns, frames=frames, budget_ns=budget_ns - (clock() - start))
        blocks: list[tuple[list[int], list[int]]] = []
        while len(blocks) < plan.blocks:
            if len(blocks) >= _FEWEST_BLOCKS and clock() - start > budget_ns:
                break
            blocks.append(_time_block(baseline, candidate, frame, plan, len(blocks), clock))
            if progress is not None:
                progress(2 * plan.stretch)
    first, second = (np.array(side, dtype=np.float64) / _NS_PER_MS for side in zip(*blocks, strict=True))
    return _summary(baseline, candidate, first, second, seed)


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


def _time_block(
    baseline: TimedModel,
    candidate: TimedModel,
    frame: NDArray[np.float32],
    plan: Schedule,
    index: int,
    clock: Clock,
) -> tuple[list[int], list[int]]:
    """Return the nanoseconds of each timed frame of the baseline and of the candidate."""
    first: list[int] = []
    second: list[int] = []
    ahead, behind = (baseline, first), (candidate, second)
    if index % 2:
        ahead, behind = behind, ahead
    for model, times in (ahead, behind, behind, ahead):
        for _ in range(plan.settling):
            model(frame)
        for _ in range(plan.stretch):
            times.append(_time_frame(model, frame, clock))
    return first, second


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
    fewest = min(frames, 2 * _FEWEST_BLOCKS)
    with _no_garbage_collection():
        _warm_up(model, frame, warmup, clock, budget_ns * _WARMUP_SHARE)
        while len(times) < frames and (len(times) < fewest or clock() - start <= budget_ns):
            times.append(_time_frame(model, frame, clock))
            if progress is not None:
                progress(1)
    milliseconds = np.array(times, dtype=np.float64) / _NS_PER_MS
    return ModelLatency(percentiles(milliseconds), model.threads, model.runtime, len(times))


def _warm_up(model: TimedModel, frame: NDArray[np.float32], runs: int, clock: Clock, budget_ns: float) -> float:
    """Run without keeping times, within the budget; return the nanoseconds of the quickest run."""
    start = clock()
    quickest = float("inf")
    for run in range(max(runs, _FEWEST_WARMUP)):
        if run >= _FEWEST_WARMUP and clock() - start > budget_ns:
            break
        quickest = min(quickest, _time_frame(model, frame, clock))
    return quickest


def _time_frame(model: TimedModel, frame: NDArray[np.float32], clock: Clock) -> int:
    start = clock()
    model(frame)
    return clock() - start


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from pausing a timed frame."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
