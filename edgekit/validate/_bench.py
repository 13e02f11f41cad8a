"""Several models timed in turns, at batch 1 beside a twin of the first, and then at larger batches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError, EdgekitError
from edgekit.results import BatchThroughput, NoiseFloor, Percentiles, WarmUp
from edgekit.spec import Interval
from edgekit.validate._interleave import (
    FEWEST_FRAMES,
    Clock,
    Run,
    no_garbage_collection,
    time_in_turns,
    warm_up,
    warm_up_until_steady,
)
from edgekit.validate._noise import is_different, noise_floor_of
from edgekit.validate._statistics import Floats, percentiles, ratio_of_medians
from edgekit.validate._timing import TimedModel, in_order

StartProgress = Callable[[str, int | None], Callable[[int], None]]

_WARM_UP_SHARE: Final = 0.2  # of the time for a batch
_FIRST_SHARE: Final = 0.5  # of the budget, for batch 1 where there are other batches
_BATCH_WARM_UP: Final = 3


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A model to time.

    Attributes:
        name: What to call it in errors.
        model: The model.
        images: As many as the largest batch, prepared for it.
        batches: Batch sizes to time it at; batch 1 is timed in any case.
    """

    name: str
    model: TimedModel
    images: NDArray[np.float32]
    batches: tuple[int, ...] = (1,)


@dataclasses.dataclass(frozen=True)
class ModelTiming:
    """Times of one model, as in `edgekit.results.BenchedModel`."""

    warm_up: WarmUp
    frame_ms: Percentiles
    samples_ms: tuple[float, ...]
    throughput: tuple[BatchThroughput, ...]
    speedup: Interval | None
    different: bool | None


@dataclasses.dataclass(frozen=True)
class Timings:
    """Times of all models, in their order, and the noise of the machine."""

    models: tuple[ModelTiming, ...]
    noise: NoiseFloor


def time_models(
    entrants: Sequence[Entrant],
    twin: TimedModel,
    *,
    frames: int,
    budget_s: float,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
    progress: StartProgress = lambda title, total: lambda amount: None,
) -> Timings:
    """Time models in turns, the first one twice.

    Args:
        entrants: The models; ratios are relative to the first.
        twin: A second session of the first: the ratio of the two is what the machine measures where nothing is.
        frames: Timed frames of each at batch 1, at least ten; a larger batch has so many images in all, in ten runs
            at least.
        budget_s: Seconds for the whole, half of it for batch 1; slow models go beyond it for the ten frames.
        seed: Seed of the bootstrap of the ratios.
        clock: Nanoseconds that never go back.
        progress: Shows how far it is.

    Raises:
        ComparisonError: EK613 when a model fails, or computes NaN or infinity.
    """
    first = entrants[0]
    twin_of_first = dataclasses.replace(first, model=twin)
    for entrant in (*entrants, twin_of_first):
        _require_finite(entrant)
    budget_ns = budget_s * 1e9
    larger = sorted({batch for entrant in entrants for batch in entrant.batches} - {1})
    share_ns = budget_ns * _FIRST_SHARE if larger else budget_ns
    runs = [_run(entrant, 1) for entrant in (*entrants, twin_of_first)]
    with no_garbage_collection():
        warm, times = _frames(runs, frames, share_ns, clock, progress("timing frames", None))
        by_batch = {
            batch: _batches(entrants, batch, frames, (budget_ns - share_ns) / len(larger), clock, progress)
            for batch in larger
        }
    noise = noise_floor_of(ratio_of_medians(times[0], times[-1], seed=seed))
    ratios = [None, *(ratio_of_medians(times[0], own, seed=seed) for own in times[1:-1])]
    models = tuple(
        _timing(
            entrant,
            warm[index],
            {1: times[index], **{batch: found[index] for batch, found in by_batch.items() if index in found}},
            ratios[index],
            noise,
        )
        for index, entrant in enumerate(entrants)
    )
    return Timings(models, noise)


def _run(entrant: Entrant, batch: int) -> Run:
    """Return the run that is timed; what a runtime raises becomes an error that names the model."""
    model, images = entrant.model, np.ascontiguousarray(entrant.images[:batch])

    def run() -> NDArray[Any]:
        try:
            return model(images)
        except (EdgekitError, MemoryError):
            raise
        except Exception as error:  # each runtime has exceptions of its own
            said = " ".join(str(error).split()) or type(error).__name__
            raise _failed(entrant.name, f"the model fails on a batch of {batch} ({said})") from error

    return run


def _require_finite(entrant: Entrant) -> None:
    logits: Any = _run(entrant, 1)()
    if not np.isfinite(logits).all():
        raise _failed(entrant.name, "the model computes NaN or infinity")


def _failed(name: str, what: str) -> ComparisonError:
    hint = "a model that does not work has no time: edgekit validate tells what it computes"
    return ComparisonError("EK613", what, where=name, hint=hint)


def _frames(
    runs: Sequence[Run], frames: int, budget_ns: float, clock: Clock, advance: Callable[[int], None]
) -> tuple[list[WarmUp], Floats]:
    """Warm up and time batch 1; returns (runs, blocks, frames of a block) in milliseconds."""
    start = clock()
    warmed = [warm_up_until_steady(run, clock, budget_ns * _WARM_UP_SHARE / len(runs)) for run in runs]
    round_ns = sum(quickest for _, quickest in warmed)
    left_ns = budget_ns - (clock() - start)
    times = time_in_turns(
        runs, round_ns=round_ns, frames=frames, budget_ns=left_ns, clock=clock, progress=advance
    )  # fmt: skip
    return [warm for warm, _ in warmed], times


def _batches(
    entrants: Sequence[Entrant], batch: int, frames: int, budget_ns: float, clock: Clock, progress: StartProgress
) -> dict[int, Floats]:
    """Time the models that take a batch size in turns; returns the milliseconds of each batch by index of the model."""
    start = clock()
    taking = [index for index, entrant in enumerate(entrants) if batch in entrant.batches]
    runs = [_run(entrants[index], batch) for index in taking]
    round_ns = sum(warm_up(run, _BATCH_WARM_UP, clock, budget_ns * _WARM_UP_SHARE / len(runs)) for run in runs)
    wanted = max(FEWEST_FRAMES, frames // batch)
    left_ns = budget_ns - (clock() - start)
    advance = progress(f"timing batches of {batch}", None)
    times = time_in_turns(runs, round_ns=round_ns, frames=wanted, budget_ns=left_ns, clock=clock, progress=advance)
    return dict(zip(taking, times, strict=True))


def _timing(
    entrant: Entrant,
    warm: WarmUp,
    times: Mapping[int, Floats],
    speedup: Interval | None,
    noise: NoiseFloor,
) -> ModelTiming:
    """Put together one model's part; `times` by batch size."""
    only_frames = entrant.batches in ((), (1,))
    throughput = () if only_frames else tuple(_throughput(batch, times[batch]) for batch in entrant.batches)
    different = None if speedup is None else is_different(speedup, noise)
    return ModelTiming(warm, percentiles(times[1]), in_order(times[1]), throughput, speedup, different)


def _throughput(batch: int, times: Floats) -> BatchThroughput:
    found = percentiles(times)
    return BatchThroughput(batch, found, 1000.0 * batch / found.p50)
