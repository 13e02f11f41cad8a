"""Run models over batches of images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError
from edgekit.validate._accumulate import DriftAccumulator, Evaluation, EvaluationAccumulator, PairedEvaluation

Run = Callable[[NDArray[np.float32]], NDArray[Any]]
Progress = Callable[[int], None]


class Batch(Protocol):
    """Preprocessed images and, where known, their classes."""

    @property
    def images(self) -> NDArray[np.float32]:
        """(N, 3, H, W) float32."""

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """(N,) int64, or None."""


def evaluate(run: Run, batches: Iterable[Batch], *, progress: Progress | None = None) -> Evaluation:
    """Run one model over all batches.

    Args:
        run: Maps (N, 3, H, W) float32 to (N, C) logits.
        batches: Read once, held one at a time.
        progress: Called after each batch with the number of images in it.

    Raises:
        DataError: EK208 without images, EK204 and EK207 when the labels do not fit.
        ComparisonError: EK601 when the output is not one row of logits an image, EK602 when logits hold NaN or
            infinity, EK603 when the model fails while it runs.
    """
    accumulator = EvaluationAccumulator()
    done = 0
    for batch in batches:
        with _saying_where(done, len(batch.images)):
            accumulator.update(run(batch.images), batch.labels)
        done += len(batch.images)
        if progress is not None:
            progress(len(batch.images))
    return accumulator.result()


def evaluate_pair(
    baseline: Run, candidate: Run, batches: Iterable[Batch], *, progress: Progress | None = None
) -> PairedEvaluation:
    """Run two models over the same batches, decoding every image once.

    Args:
        baseline: Maps (N, 3, H, W) float32 to (N, C) logits.
        candidate: The same, of the model under test.
        batches: Read once, held one at a time.
        progress: Called after each batch with the number of images in it.

    Raises:
        DataError: EK208 without images, EK204 and EK207 when the labels do not fit.
        ComparisonError: EK601 when the class counts differ, EK602 when logits hold NaN or infinity, EK603 when a model
            fails while it runs.
    """
    accumulator = DriftAccumulator()
    done = 0
    for batch in batches:
        count = len(batch.images)
        with _saying_where(done, count, "the baseline, "):
            first = baseline(batch.images)
        with _saying_where(done, count, "the candidate, "):
            second = candidate(batch.images)
        with _saying_where(done, count):
            accumulator.update(first, second, batch.labels)
        done += count
        if progress is not None:
            progress(count)
    return accumulator.result()


@contextlib.contextmanager
def _saying_where(done: int, count: int, model: str = "") -> Iterator[None]:
    """Add the images that a model fails on to an error that names no place."""
    try:
        yield
    except ComparisonError as error:
        where = error.where or f"{model}images {done + 1} to {done + count}"
        raise ComparisonError(error.code, error.what, where=where, hint=error.hint) from error
