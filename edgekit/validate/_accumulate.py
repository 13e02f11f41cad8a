"""From two streams of logits to a few numbers per image, and from those to accuracy and drift."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError, DataError
from edgekit.results import SQNR_LIMIT_DB, Accuracy, Drift
from edgekit.validate._significance import Flags, gained_and_lost
from edgekit.validate._statistics import (
    Floats,
    bootstrap_of_sums,
    paired_difference_points,
    proportion_percent,
)

_TOP: Final = 5
# Share of the largest logit: a dead model gives the same for every image, but for the order of its sums.
ROUNDING: Final = 1e-6

Classes = NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one model did on each image: one row an image, no logits kept.

    Attributes:
        num_classes: Number of logits of the model.
        answers: (N,) int32: class with the highest logit (the first of equals counts).
        confidence: (N,) float32: softmax of that logit.
        labels: (N,) int32; None without labels.
        top5: (N,) bool: the label is among the five highest; None without labels and with five classes or
            fewer.
        varies: The logits differ between images, beyond rounding; True with one image, of which nobody can tell.
    """

    num_classes: int
    answers: Classes
    confidence: NDArray[np.float32]
    labels: Classes | None
    top5: Flags | None
    varies: bool

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.answers)

    @property
    def top1(self) -> Flags | None:
        """(N,) bool: the answer is the label; None without labels."""
        if self.labels is None:
            return None
        right: Flags = self.answers == self.labels
        return right

    @property
    def accuracy(self) -> Accuracy:
        """Top-1 and top-5 in percent."""
        return Accuracy(_percent(self.top1), _percent(self.top5), self.n)


@dataclasses.dataclass(frozen=True)
class PairedEvaluation:
    """What a baseline and a candidate did on the same images: 46 bytes an image, whatever the class count.

    Attributes:
        baseline: The baseline alone.
        candidate: The candidate alone.
        kl: (N,) float64, at least 0: KL(softmax of baseline || softmax of candidate), in nats.
        signal: (N,) float64: sum over the classes of the squared baseline logits.
        noise: (N,) float64: sum over the classes of the squared differences of the logits.
    """

    baseline: Evaluation
    candidate: Evaluation
    kl: Floats
    signal: Floats
    noise: Floats

    @property
    def agrees(self) -> Flags:
        """(N,) bool: both have the same top class."""
        same: Flags = self.baseline.answers == self.candidate.answers
        return same


class EvaluationAccumulator:
    """Collects the `Evaluation` of one model, batch by batch.

    Args:
        name: What an error calls the model.
    """

    def __init__(self, name: str = "the model") -> None:
        self._name = name
        self._num_classes: int | None = None
        self._answers: list[Classes] = []
        self._confidence: list[NDArray[np.float32]] = []
        self._labels: list[Classes] = []
        self._top5: list[Flags] = []
        self._labelled: bool | None = None
        self._lowest: Floats = np.array(np.inf)
        self._highest: Floats = np.array(-np.inf)

    def update(self, logits: NDArray[Any], labels: NDArray[Any] | None) -> None:
        """Add a batch.

        Args:
            logits: (N, C) floating point.
            labels: (N,) integers in 0..C-1, or None; all batches have labels or none has.

        Raises:
            ComparisonError: EK601 when logits are not one row an image or the number of classes changes, EK602 when
                they hold NaN or infinity.
            DataError: EK204 when only some batches have labels, EK207 when a label is not a class of the
                model.
        """
        classes = self._class_count(logits)
        if self._num_classes not in (None, classes):
            raise _different_classes(self._num_classes, classes)
        if self._labelled not in (None, labels is not None):
            raise DataError(
                "EK204",
                "some images have a label and others have none",
                hint="give all images a label, or none of them",
            )
        self._num_classes, self._labelled = classes, labels is not None
        if not len(logits):
            return
        wide = logits.astype(np.float64)
        self._answers.append(wide.argmax(axis=1).astype(np.int32))
        self._confidence.append(np.exp(_log_softmax(wide).max(axis=1)).astype(np.float32))
        self._lowest = np.minimum(self._lowest, wide.min(axis=0))
        self._highest = np.maximum(self._highest, wide.max(axis=0))
        if labels is not None:
            self._top5.append(_rank_of_label(logits, labels) < _TOP)
            self._labels.append(labels.astype(np.int32))

    def result(self) -> Evaluation:
        """Return what all batches so far add up to; raises DataError EK208 when there was no image."""
        if self._num_classes is None or not self._answers:
            raise DataError("EK208", "there is no image to evaluate on", hint="give at least one image with --eval")
        answers = np.concatenate(self._answers)
        return Evaluation(
            num_classes=self._num_classes,
            answers=answers,
            confidence=np.concatenate(self._confidence),
            labels=np.concatenate(self._labels) if self._labelled else None,
            top5=np.concatenate(self._top5) if self._labelled and self._num_classes > _TOP else None,
            varies=len(answers) == 1 or self._varies(),
        )

    def _varies(self) -> bool:
        largest = float(np.maximum(np.abs(self._lowest), np.abs(self._highest)).max())
        return float((self._highest - self._lowest).max()) > ROUNDING * largest

    def _class_count(self, logits: NDArray[Any]) -> int:
        if logits.ndim != 2:
            raise ComparisonError(
                "EK601",
                f"{self._name} gives an output of shape {logits.shape} and not one row of logits an image",
                hint="compare image classifiers whose output is (images, classes)",
            )
        if not np.isfinite(logits).all():
            raise ComparisonError(
                "EK602",
                f"{self._name} gives NaN or infinity",
                hint="look for overflow in the model, or quantize it again with more calibration images",
            )
        return int(logits.shape[1])


class DriftAccumulator:
    """Collects the `PairedEvaluation` of two models, batch by batch.

    The result does not depend on how the images were split into batches, and memory grows by 50 bytes an
    image.
    """

    def __init__(self) -> None:
        self._baseline = EvaluationAccumulator("the baseline")
        self._candidate = EvaluationAccumulator("the candidate")
        self._numbers: list[Floats] = []

    def update(
        self, baseline_logits: NDArray[Any], candidate_logits: NDArray[Any], labels: NDArray[Any] | None
    ) -> None:
        """Add what both models gave for the same batch.

        Args:
            baseline_logits: (N, C) floating point.
            candidate_logits: (N, C) floating point.
            labels: (N,) integers in 0..C-1, or None; all batches have labels or none has.

        Raises:
            ComparisonError: EK601 when the class counts differ, EK602 when logits hold NaN or infinity.
            DataError: EK204 when only some batches have labels, EK207 when a label is not a class of the
                models.
        """
        if baseline_logits.ndim == candidate_logits.ndim == 2 and baseline_logits.shape != candidate_logits.shape:
            raise _different_classes(baseline_logits.shape[1], candidate_logits.shape[1])
        self._baseline.update(baseline_logits, labels)
        self._candidate.update(candidate_logits, labels)
        baseline, candidate = baseline_logits.astype(np.float64), candidate_logits.astype(np.float64)
        signal = np.square(baseline).sum(axis=1)
        noise = np.square(baseline - candidate).sum(axis=1)
        self._numbers.append(np.stack([_kl_divergence(baseline, candidate), signal, noise], axis=1))

    def result(self) -> PairedEvaluation:
        """Return what all batches so far add up to; raises DataError EK208 when there was no image."""
        baseline, candidate = self._baseline.result(), self._candidate.result()
        candidate = dataclasses.replace(candidate, labels=baseline.labels)  # the same, kept once
        numbers = np.concatenate(self._numbers)
        return PairedEvaluation(baseline, candidate, numbers[:, 0], numbers[:, 1], numbers[:, 2])


def drift(pair: PairedEvaluation, *, seed: int = 0) -> Drift:
    """Return the drift of the candidate from the baseline with 95 % confidence intervals.

    Intervals: top-1 difference by Tango's paired score method, agreement by Wilson's, KL and SQNR by the BCa
    bootstrap over images, with `seed`. With one image, the two bootstrap intervals are that image's value
    alone.
    """
    baseline, candidate = pair.baseline, pair.candidate
    delta = None
    if baseline.top1 is not None and candidate.top1 is not None:
        delta = paired_difference_points(*gained_and_lost(baseline.top1, candidate.top1), baseline.n)
    return Drift(
        top1_delta_pp=delta,
        agreement=proportion_percent(int(pair.agrees.sum()), baseline.n),
        kl=bootstrap_of_sums(np.stack([pair.kl, np.ones(baseline.n)], axis=1), _mean, seed=seed),
        sqnr_db=bootstrap_of_sums(np.stack([pair.signal, pair.noise], axis=1), _decibels, seed=seed),
        n=baseline.n,
    )


def _mean(sums: Floats) -> Floats:
    # The count is 0 only in the jackknife of a single image, whose sum is 0 as well.
    mean: Floats = sums[..., 0] / np.maximum(sums[..., 1], 1)
    return mean


def _decibels(sums: Floats) -> Floats:
    """Return 10 log10 of the first column over the second, within ±`SQNR_LIMIT_DB`."""
    # Sums left over by subtraction in the jackknife may fall a rounding error below 0.
    signal, noise = np.maximum(sums[..., 0], 0.0), np.maximum(sums[..., 1], 0.0)
    # The ratio before the logarithm: so the result is the same, to the bit, for logits of any power of two.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = 10 * np.log10(signal / noise)
    bounded = np.clip(ratio, -SQNR_LIMIT_DB, SQNR_LIMIT_DB)
    decibels: Floats = np.where(noise == 0, SQNR_LIMIT_DB, bounded)
    return decibels


def _kl_divergence(baseline: Floats, candidate: Floats) -> Floats:
    expected, actual = _log_softmax(baseline), _log_softmax(candidate)
    # Rounding leaves about -1e-17 where the two are almost equal; the divergence itself is never negative.
    divergence: Floats = np.maximum(np.sum(np.exp(expected) * (expected - actual), axis=1), 0.0)
    return divergence


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _rank_of_label(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many classes lead the label, (N,). Of equal logits, common in int8, the first leads."""
    classes = logits.shape[1]
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise DataError(
            "EK207",
            f"label {labels[outside][0]} is not among the {classes} classes of the model",
            hint="give images of the classes that the model knows, in its order (classes.txt)",
        )
    own = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)
    earlier = np.arange(classes)[None, :] < labels[:, None]
    rank: NDArray[np.int64] = np.sum((logits > own) | ((logits == own) & earlier), axis=1)
    return rank


def _different_classes(first: int | None, second: int) -> ComparisonError:
    return ComparisonError(
        "EK601",
        f"one model has {first} classes and the other {second}",
        hint="compare two models of the same classes",
    )


def _percent(flags: Flags | None) -> float | None:
    return None if flags is None else 100.0 * float(flags.mean())
