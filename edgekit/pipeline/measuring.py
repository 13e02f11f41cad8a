"""Runs models on images and on a clock: the numbers behind `edgekit export` and `edgekit validate`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from edgekit.data import Batch, ImageSet, batches, sample
from edgekit.results import Accuracy, Drift, Latency, ModelLatency
from edgekit.spec import Preprocessing
from edgekit.validate import PairedEvaluation, Runner, compare_latency, drift, evaluate, evaluate_pair, latency

BATCH = 8

StartProgress = Callable[[str, int | None], Callable[[int], None]]


@dataclasses.dataclass(frozen=True)
class EvaluatedPair:
    """What two models did, and on which images: the set without those that could not be read."""

    pair: PairedEvaluation
    images: ImageSet


# Evaluates two models that it knows.
EvaluatePair = Callable[[ImageSet, Preprocessing, StartProgress], EvaluatedPair]


@dataclasses.dataclass(frozen=True)
class Measured:
    """Accuracy, drift and time per frame of a baseline and, where there is one, a candidate.

    Attributes:
        baseline: Accuracy of the baseline; None when there were no images.
        candidate: Accuracy of the candidate; None when there was none, or no images.
        drift: Candidate against baseline; None as above.
        latency: Time per frame of both in turns, or of the baseline alone.
        broken: Images that could not be read.
    """

    baseline: Accuracy | None
    candidate: Accuracy | None
    drift: Drift | None
    latency: Latency | ModelLatency
    broken: int


def silent(title: str, total: int | None) -> Callable[[int], None]:
    """Show no progress."""
    return lambda amount: None


def measure(
    baseline: Runner,
    candidate: Runner | None,
    images: ImageSet | None,
    preprocessing: Preprocessing,
    progress: StartProgress = silent,
    evaluated: EvaluatePair | None = None,
) -> Measured:
    """Evaluate on `images`, then time on one of them (or of the sample that ships, where there are none).

    Args:
        baseline: The model that a candidate is compared with.
        candidate: The model under test, where there is one.
        images: What to evaluate on.
        preprocessing: What both expect.
        progress: Starts a progress bar.
        evaluated: Evaluates the two elsewhere; None runs them here.

    Raises:
        EdgekitError: EK2xx when images cannot be used, EK601 when the models cannot be compared.
    """
    accuracy: tuple[Accuracy | None, Accuracy | None] = (None, None)
    moved, broken = None, 0
    if images is not None and candidate is None:
        advance = progress("evaluating", len(images))
        with contextlib.closing(batches(images, preprocessing, BATCH)) as stream:
            accuracy = (evaluate(baseline, stream, progress=advance).accuracy, None)
            broken = len(stream.broken)
    elif images is not None and candidate is not None:
        if evaluated is not None:
            both = evaluated(images, preprocessing, progress)
        else:
            both = evaluate_both(baseline, candidate, images, preprocessing, progress)
        accuracy, moved = (both.pair.baseline.accuracy, both.pair.candidate.accuracy), drift(both.pair)
        broken = len(images) - len(both.images)
    frame = first_images(images or sample().evaluation, preprocessing, 1)
    advance = progress("timing", None)
    if candidate is None:
        return Measured(*accuracy, moved, latency(baseline, frame, progress=advance), broken)
    return Measured(*accuracy, moved, compare_latency(baseline, candidate, frame, progress=advance), broken)


def evaluate_both(
    baseline: Runner,
    candidate: Runner,
    images: ImageSet,
    preprocessing: Preprocessing,
    progress: StartProgress = silent,
) -> EvaluatedPair:
    """Run two models over the same images, decoding every image once.

    Raises:
        EdgekitError: EK2xx when images cannot be used, EK601 to EK603 when a model or their comparison fails.
    """
    advance = progress("evaluating", len(images))
    read: list[int] = []

    def noting(stream: Iterable[Batch]) -> Iterator[Batch]:
        for batch in stream:
            read.extend(batch.indices)
            yield batch

    with contextlib.closing(batches(images, preprocessing, BATCH)) as stream:
        pair = evaluate_pair(baseline, candidate, noting(stream), progress=advance)
    return EvaluatedPair(pair, images.select(read))


def first_images(images: ImageSet, preprocessing: Preprocessing, count: int) -> npt.NDArray[np.float32]:
    """Return up to `count` readable images, spread over a set, as float32 (N, 3, H, W)."""
    # The whole set in another order: a broken image among the first is one of all, and the next stands in for it.
    step = max(1, len(images) // count)
    spread = images.select(sorted(range(len(images)), key=lambda index: index % step))
    with contextlib.closing(batches(spread, preprocessing, count)) as stream:
        return next(stream).images
