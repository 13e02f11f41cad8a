"""`--quantize qat`: the images that a quantized model is trained on, and those that judge it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from edgekit.data import Augmentation, ImageSet, batches, open_images, require_count
from edgekit.pipeline.job import ExportRequest
from edgekit.pipeline.measuring import StartProgress
from edgekit.pipeline.sources import Source
from edgekit.quantize import Climbed, Plan, train_aware
from edgekit.spec import Rung
from edgekit.training import TrainingImages

BATCH = 32
JUDGES = 128


def aware(
    request: ExportRequest, source: Source, calibration: ImageSet, climbed: Climbed, progress: StartProgress
) -> tuple[Plan, Rung]:
    """Train what the ladder came to through its own rounding.

    Images that judge are never trained on. Without training images of their own those of the calibration set serve, of
    which a fifth judges then.

    Raises:
        DataError: EK2xx when the images cannot be used.
        QuantizationError: EK507 when training diverges.
    """
    if request.training is not None:
        judges = calibration.spread(JUDGES)
        training = open_images(request.training, class_names=source.class_names).without(judges)
    else:
        judges = calibration.spread(min(JUDGES, max(1, len(calibration) // 5)))
        training = calibration.without(judges)
    require_count(training, least=2, purpose="quantization-aware training")
    with contextlib.closing(batches(judges, source.preprocessing)) as stream:
        check = torch.from_numpy(np.concatenate([batch.images for batch in stream]))
    return train_aware(
        climbed.model, climbed.plan, _endless(request, source, training), check, request.awareness,
        state=request.state, advance=progress("training through the rounding", request.awareness.steps),
    )  # fmt: skip


def _endless(
    request: ExportRequest, source: Source, images: ImageSet
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    size = source.preprocessing.input_size
    augmentation = Augmentation(crop_padding=max(1, size // 16), flip=True)
    loader = TrainingImages(images, source.preprocessing, augmentation, request.seed)
    epoch = 0
    while True:
        with contextlib.closing(loader.epoch(epoch, min(BATCH, len(images)))) as stream:
            for pixels, labels in stream:
                yield pixels, labels if loader.labelled else None
        epoch += 1
