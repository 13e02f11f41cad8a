"""Runs models on images and on a clock: the numbers behind `edgekit export` and `edgekit validate`."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekit.data import ImageSet, batches, sample
from edgekit.results import Accuracy, Drift, Latency, ModelLatency
from edgekit.spec import Preprocessing
from edgekit.validate import Runner, compare_latency, drift, evaluate, evaluate_pair, latency

BATCH = 8

StartProgress = Callable[[str, int | None], Callable[[int], None]]


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
) -> Measured:
    """Evaluate on `images`, then time on one of them (or of the sample that ships, where there are none).

    Raises:
        EdgekitError: EK2xx when images cannot be used, EK601 when the models cannot be compared.
    """
    frame = first_images(images or sample().evaluation, preprocessing, 1)
    accuracy: tuple[Accuracy | None, Accuracy | None] = (None, None)
    moved, broken = None, 0
    if images is not None:
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
