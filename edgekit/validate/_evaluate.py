"""Run models over batches of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
        ComparisonError: EK601 when logits hold NaN or infinity.
    """
    accumulator = EvaluationAccumulator()
    for batch in batches:
        accumulator.update(run(batch.images), batch.labels)
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
        ComparisonError: EK601 when the class counts differ, or logits hold NaN or infinity.
    """
    accumulator = DriftAccumulator()
    for batch in batches:
        accumulator.update(baseline(batch.images), candidate(batch.images), batch.labels)
        if progress is not None:
            progress(len(batch.images))
    return accumulator.result()
