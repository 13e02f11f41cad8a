"""Runs models on images and on a clock: the numbers behind `edgekit export` and `edgekit validate`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgekit.data import BrokenImage, ImageSet, batches, sample
from edgekit.results import Accuracy, Drift, Latency, ModelLatency
from edgekit.spec import Preprocessing
from edgekit.validate import PairedEvaluation, Runner, compare_latency, drift, evaluate, evaluate_pair, latency

BATCH = 8

StartProgress = Callable[[str, int | None], Callable[[int], None]]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What two models did.

    Attributes:
        pair: One row an image that could be read.
        read: Place of each of them in the set.
        broken: The others.
    """

    pair: PairedEvaluation
    read: tuple[int, ...]
    broken: tuple[BrokenImage, ...]


class PairEvaluation(Protocol):
    """Evaluates two models that it knows, on any images."""

    def __call__(self, images: ImageSet, preprocessing: Preprocessing, *, progress: Callable[[int], None]) -> Evaluated:
        """Return what both did."""


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
    pair_of: PairEvaluation | None = None,
) -> Measured:
    """Evaluate on `images`, then time on one of them (or of the sample that ships, where there are none).

    Args:
        baseline: The model that a candidate is compared with.
        candidate: The model under test, where there is one.
        images: What to evaluate on.
        preprocessing: What both expect.
        progress: Starts a progress bar.
        pair_of: Evaluates the two elsewhere; None runs them here.

    Raises:
        EdgekitError: EK2xx when images cannot be used, EK601 when the models cannot be compared.
    """
    frame = first_images(images or sample().evaluation, preprocessing, 1)
    accuracy: tuple[Accuracy | None, Accuracy | None] = (None, None)
    moved, broken = None, 0
    if images is not None and candidate is not None and pair_of is not None:
        there = pair_of(images, preprocessing, progress=progress("evaluating", len(images)))
        accuracy = (there.pair.baseline.accuracy, there.pair.candidate.accuracy)
        moved, broken = drift(there.pair), len(there.broken)
    elif images is not None:
        advance = progress("evaluating", len(images))
        with contextlib.closing(batches(images, preprocessing, BATCH)) as stream:
            if candidate is None:
                accuracy = (evaluate(baseline, stream, progress=advance).accuracy, None)
            else:
                pair = evaluate_pair(baseline, candidate, stream, progress=advance)
                accuracy, moved = (pair.baseline.accuracy, pair.candidate.accuracy), drift(pair)
            broken = len(stream.broken)
    advance = progress("timing", None)
    if candidate is None:
        return Measured(*accuracy, moved, latency(baseline, frame, progress=advance), broken)
    return Measured(*accuracy, moved, compare_latency(baseline, candidate, frame, progress=advance), broken)


def first_images(images: ImageSet, preprocessing: Preprocessing, count: int) -> npt.NDArray[np.float32]:
    """Return up to `count` readable images, spread over a set, as float32 (N, 3, H, W)."""
    # The whole set in another order: a broken image among the first is one of all, and the next stands in for it.
    step = max(1, len(images) // count)
    spread = images.select(sorted(range(len(images)), key=lambda index: index % step))
    with contextlib.closing(batches(spread, preprocessing, count)) as stream:
        return next(stream).images
