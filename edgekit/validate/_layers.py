"""How far single tensors of a candidate are from those of a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgekit.errors import ComparisonError
from edgekit.results import SQNR_LIMIT_DB
from edgekit.validate._evaluate import Batch, Progress
from edgekit.validate._session import session


def tensor_sqnr(
    baseline: onnx.ModelProto,
    candidate: onnx.ModelProto,
    pairs: Sequence[tuple[str, str]],
    batches: Iterable[Batch],
    *,
    fit_gains: bool = False,
    progress: Progress | None = None,
) -> tuple[float, ...]:
    """Return the signal to quantization noise ratio of tensors, in dB, over all images.

    Both models run as onnxruntime optimizes them, one image at a time, so memory does not grow with the images.

    Args:
        baseline: Reference model.
        candidate: Model under test, with the same input.
        pairs: Names of a tensor of the baseline and of the candidate's tensor that stands for it.
        batches: Preprocessed images.
        fit_gains: Compare each channel (axis 1) after the gain that fits it best: what remains after channels were
            equalized, which scales them on purpose and changes no answer.
        progress: Called after each batch with the number of images in it.

    Raises:
        ComparisonError: EK601 when two tensors of a pair differ in shape.
        ModelError: EK108 when onnxruntime cannot run a model.
    """
    first = _Watched(baseline, [pair[0] for pair in pairs])
    second = _Watched(candidate, [pair[1] for pair in pairs])
    sums: list[npt.NDArray[np.float64] | float] = [0.0] * len(pairs)
    for batch in batches:
        for image in np.split(batch.images, len(batch.images)):
            values = zip(pairs, first(image), second(image), strict=True)
            for index, (pair, expected, actual) in enumerate(values):
                _require_equal_shapes(pair, expected, actual)
                sums[index] = sums[index] + _moments(expected.astype(np.float64), actual.astype(np.float64))
        if progress is not None:
            progress(len(batch.images))
    return tuple(decibels(*_signal_and_noise(np.asarray(moments), fit_gains)) for moments in sums)


def _moments(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return for each channel (axis 1) the sums of expected², expected * actual, actual² and error², float64 (4, C)."""
    axes = tuple(axis for axis in range(expected.ndim) if axis != 1)
    products = (expected**2, expected * actual, actual**2, (expected - actual) ** 2)
    return np.stack([np.atleast_1d(product.sum(axis=axes)) for product in products])


def _signal_and_noise(moments: npt.NDArray[np.float64], fit_gains: bool) -> tuple[float, float]:
    if not moments.size or moments.ndim != 2:
        return 0.0, 0.0
    signal, cross, power, error = moments
    if fit_gains:
        explained = np.divide(cross**2, power, out=np.zeros_like(power), where=power > 0)
        error = np.maximum(signal - explained, 0.0)
    return float(signal.sum()), float(error.sum())


class _Watched:
    """A model that returns the given tensors instead of its outputs."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        self._tensors = list(tensors)
        present = {output.name for output in model.graph.output}
        for name in dict.fromkeys(self._tensors):
            if name not in present:
                watched.graph.output.append(onnx.ValueInfoProto(name=name))
        self._session = session(watched.SerializeToString())
        self._input = self._session.get_inputs()[0].name

    def __call__(self, image: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        names = list(dict.fromkeys(self._tensors))
        values = dict(zip(names, self._session.run(names, {self._input: image}), strict=True))
        return [values[name] for name in self._tensors]


def _require_equal_shapes(pair: tuple[str, str], expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> None:
    if expected.shape != actual.shape:
        raise ComparisonError(
            "EK601",
            f"the tensors {pair[0]} and {pair[1]} have shapes {expected.shape} and {actual.shape}",
            hint="give the FP32 model that the file was made from",
        )


def decibels(signal: float, noise: float) -> float:
    """Return the ratio of two energies in dB, within ±`SQNR_LIMIT_DB`."""
    if noise == 0:
        return SQNR_LIMIT_DB
    if signal == 0 or not math.isfinite(signal / noise):
        return -SQNR_LIMIT_DB
    return min(max(10 * math.log10(signal / noise), -SQNR_LIMIT_DB), SQNR_LIMIT_DB)
