"""Proof that the exported model computes what the torch module computes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto

from edgekit.errors import ExportError
from edgekit.export._session import Session

if TYPE_CHECKING:
    from torch import nn

BATCH = 32


@dataclasses.dataclass(frozen=True)
class Verification:
    """How far the ONNX model is from the torch module.

    Attributes:
        max_abs_difference: Largest absolute difference between two logits, over all images and batch sizes.
        images: Number of images compared.
        tolerance: What was allowed.
    """

    max_abs_difference: float
    images: int
    tolerance: float


def verify(module: nn.Module, model: ModelProto, images: np.ndarray, *, tolerance: float = 1e-3) -> Verification:
    """Compare a torch module with an ONNX model on the CPU, in batches of many and of one image.

    Args:
        module: Takes float32 (N, 3, H, W), returns logits (N, classes).
        model: What `to_onnx` made of it.
        images: Preprocessed images, float32 (N, 3, H, W), N at least 1; real ones, as noise hides
            differences.
        tolerance: Largest absolute difference of a logit that is accepted.

    Raises:
        ExportError: EK403 when a difference is larger or NaN, when onnxruntime cannot run the model, or when
            the batch axis is not dynamic.
    """
    if not len(images):
        raise ValueError("verify needs at least one image")
    expected = _run_torch(module, images)
    worst = 0.0
    for batch in sorted({1, min(BATCH, len(images))}):
        # One image at a time proves the batch axis; a few are enough for that.
        count = min(4, len(images)) if batch == 1 else len(images)
        actual = _run_onnx(model, images[:count], batch)
        worst = max(worst, _largest_difference(expected[:count], actual, tolerance, batch))
    return Verification(worst, len(images), tolerance)


def _run_torch(module: nn.Module, images: np.ndarray) -> np.ndarray:
    import torch

    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            parts = [module(torch.from_numpy(images[i : i + BATCH])).numpy() for i in range(0, len(images), BATCH)]
    finally:
        for part, training in modes:
            part.training = training
    return np.concatenate(parts)


def _run_onnx(model: ModelProto, images: np.ndarray, batch: int) -> np.ndarray:
    try:
        session = Session(model)
        parts = [session.run(images[i : i + batch]) for i in range(0, len(images), batch)]
    except Exception as error:  # onnxruntime raises a type of its own for each of its status codes
        raise ExportError(
            "EK403",
            f"onnxruntime cannot run the model on batches of {batch}: {str(error).splitlines()[0]}",
            hint="see that no layer fixes the batch size (a reshape or view to a constant, for example)",
        ) from error
    return np.concatenate(parts)


def _largest_difference(expected: np.ndarray, actual: np.ndarray, tolerance: float, batch: int) -> float:
    if expected.shape != actual.shape:
        raise ExportError(
            "EK403",
            f"the model returns {actual.shape} for {len(expected)} images, torch returns {expected.shape}",
            hint="compare with the module that the model was exported from, at the same opset and input size",
        )
    differences = np.abs(expected - actual).reshape(len(expected), -1).max(axis=1)
    largest = float(differences.max())
    if not largest <= tolerance:  # written so that NaN is an error
        first = int(np.flatnonzero(~(differences <= tolerance))[0])
        raise ExportError(
            "EK403",
            f"logits differ from torch's by up to {largest:.3g}, allowed is {tolerance:g} (batch {batch})",
            where=f"image {first}",
            hint="try another --opset; if the difference stays, report this model to edgekit",
        )
    return largest
