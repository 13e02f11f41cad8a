"""Runs that take turns on a clock: the schedule, the warm-up, the times. Knows nothing of models or statistics."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from edgekit.results import WarmUp
from edgekit.validate._statistics import Floats

Run = Callable[[], object]
Clock = Callable[[], int]
Progress = Callable[[int], None]

FEWEST_BLOCKS: Final = 5  # fewer say nothing about their own spread
FEWEST_FRAMES: Final = 2 * FEWEST_BLOCKS
_FEWEST_WARM_UP: Final = 2  # the first run allocates memory and plans it
_LONGEST_STRETCH: Final = 5  # frames of one model in a row
_SETTLING: Final = 2  # frames after a switch: caches are cold and the other model's threads still spin
_SLOW_FRAME_NS: Final = 50_000_000  # from here on a switch is lost in the frame
_NS_PER_MS: Final = 1e6
# The rule of a steady warm-up.
_WINDOW: Final = 5
_FASTER: Final = 0.02
_WINDOWS_WITHOUT_GAIN: Final = 2
_MOST_WINDOWS: Final = 20


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How runs take turns.

    Attributes:
        blocks: Number of blocks; in a block every run has two stretches, in an order and back (A B B A, then
            B A A B), which cancels steady drift.
        stretch: Timed frames of one run in a row, so that a block times twice as many of each.
        settling: Frames run and not timed at the start of each stretch.
    """

    blocks: int
    stretch: int
    settling: int


def plan_blocks(round_ns: float, *, frames: int, budget_ns: float, runs: int = 2) -> Schedule:
    """Decide how many frames to time, from how long one frame of each run took together.

    Never fewer than `FEWEST_BLOCKS` blocks of one frame a stretch, even where that is more than the budget.
    """
    settling = 0 if round_ns > runs * _SLOW_FRAME_NS else _SETTLING
    stretch = max(1, min(_LONGEST_STRETCH, frames // FEWEST_FRAMES))
    # Long stretches waste fewer frames on settling; where few are affordable, more blocks are worth more.
    while stretch > 1 and FEWEST_BLOCKS * _block_ns(round_ns, stretch, settling) > budget_ns:
        stretch -= 1
    affordable = int(budget_ns // _block_ns(round_ns, stretch, settling))
    wanted = -(-frames // (2 * stretch))
    return Schedule(max(FEWEST_BLOCKS, min(wanted, affordable)), stretch, settling)


def _block_ns(round_ns: float, stretch: int, settling: int) -> float:
    return 2 * (stretch + settling) * max(round_ns, 1.0)


def time_in_turns(
    runs: Sequence[Run],
    *,
    round_ns: float,
    frames: int,
    budget_ns: float,
    clock: Clock,
    progress: Progress | None = None,
) -> Floats:
    """Time runs in turns and return the milliseconds of each frame: (runs, blocks, frames of a block).

    Args:
        runs: What to time, warmed up.
        round_ns: How long one frame of each took together.
        frames: Timed frames of each; fewer when the budget ends before, at least ten.
        budget_ns: For the whole.
        clock: Nanoseconds that never go back.
        progress: Called between blocks with the number of frames of each just timed.
    """
    start = clock()
    plan = plan_blocks(round_ns, frames=frames, budget_ns=budget_ns, runs=len(runs))
    blocks: list[list[list[int]]] = []
    while len(blocks) < plan.blocks:
        if len(blocks) >= FEWEST_BLOCKS and clock() - start > budget_ns:
            break
        blocks.append(_time_block(runs, plan, len(blocks), clock))
        if progress is not None:
            progress(2 * plan.stretch)
    return np.array(blocks, dtype=np.float64).swapaxes(0, 1) / _NS_PER_MS


def _time_block(runs: Sequence[Run], plan: Schedule, index: int, clock: Clock) -> list[list[int]]:
    """Return the nanoseconds of each timed frame, one list a run."""
    times: list[list[int]] = [[] for _ in runs]
    first = index % len(runs)
    order = [*range(first, len(runs)), *range(first)]
    for chosen in (*order, *reversed(order)):
        for _ in range(plan.settling):
            runs[chosen]()
        for _ in range(plan.stretch):
            times[chosen].append(time_frame(runs[chosen], clock))
    return times


def time_frame(run: Run, clock: Clock) -> int:
    """Return the nanoseconds of one run."""
    start = clock()
    run()
    return clock() - start


def warm_up(run: Run, frames: int, clock: Clock, budget_ns: float) -> float:
    """Run without keeping times, within the budget; return the nanoseconds of the quickest run."""
    start = clock()
    quickest = float("inf")
    for done in range(max(frames, _FEWEST_WARM_UP)):
        if done >= _FEWEST_WARM_UP and clock() - start > budget_ns:
            break
        quickest = min(quickest, time_frame(run, clock))
    return quickest


def warm_up_until_steady(run: Run, clock: Clock, budget_ns: float) -> tuple[WarmUp, float]:
    """Run until frames no longer get faster; return what that took, and the nanoseconds of the quickest run.

    The rule: frames are taken five at a time, and it is enough when the median of two windows in a row is not
    more than 2 % below the best one before. A slow window, from whatever else runs on the machine, is no gain and
    so does not prolong it. The limit is one hundred frames, or the budget, but two frames at least.
    """
    start = clock()
    best, without_gain, quickest, done = float("inf"), 0, float("inf"), 0
    for _ in range(_MOST_WINDOWS):
        window: list[int] = []
        while len(window) < _WINDOW:
            if done >= _FEWEST_WARM_UP and clock() - start > budget_ns:
                return WarmUp(done, False), quickest
            window.append(time_frame(run, clock))
            done += 1
            quickest = min(quickest, window[-1])
        median = float(np.median(window))
        without_gain = 0 if median < best * (1 - _FASTER) else without_gain + 1
        best = min(best, median)
        if without_gain == _WINDOWS_WITHOUT_GAIN:
            return WarmUp(done, True), quickest
    return WarmUp(done, False), quickest


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from pausing a timed frame."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
