"""Which images calibrate and which are evaluated; never the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.data import ImageSet, open_images, require_count, sample
from edgekit.errors import DataError, UsageError
from edgekit.spec import Note

if TYPE_CHECKING:
    from edgekit.pipeline.sources import Source

SHIPPED_NAME = "the CIFAR-10 sample that ships with edgekit"


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of one export.

    Attributes:
        calibration: Images that set the ranges; None when none are needed.
        evaluation: Images for accuracy and drift; None when there are none.
        excluded: Images left out of `evaluation` because they calibrate.
        notes: What was chosen where the user did not say.
    """

    calibration: ImageSet | None
    evaluation: ImageSet | None
    excluded: int
    notes: tuple[Note, ...]


def choose_images(
    source: Source,
    *,
    calibrates: bool,
    calibration: Path | None,
    calibration_samples: int,
    evaluation: Path | None,
    evaluation_samples: int | None,
) -> Images:
    """Open the images that were named, or find fitting ones.

    The sample that ships serves the model that ships, any model of the same classes and, without labels, random
    weights. Otherwise images of `calibration` that do not calibrate are evaluated when `evaluation` is not given.

    Raises:
        UsageError: EK001 when calibration is needed and no images are named.
        DataError: EK2xx when images cannot be used.
    """
    chosen, pool = _calibration(source, calibration, calibration_samples) if calibrates else (None, None)
    evaluated, notes = _evaluation(source, evaluation, pool if calibration is not None else None)
    if evaluated is None:
        return Images(chosen, None, 0, notes)
    excluded = 0
    if chosen is not None:
        rest = evaluated.without(chosen)
        excluded = len(evaluated) - len(rest)
        evaluated = rest
    require_count(evaluated, purpose="evaluation")
    if evaluation_samples is not None:
        evaluated = evaluated.spread(evaluation_samples)
    return Images(chosen, evaluated, excluded, notes)


def _calibration(source: Source, path: Path | None, count: int) -> tuple[ImageSet, ImageSet]:
    """Return the images that calibrate, and the set they were chosen from."""
    if path is not None:
        pool = open_images(path)
        return pool.spread(count), pool
    if not _sample_serves(source):
        raise UsageError(
            "EK001",
            "static quantization needs images to calibrate on, and the sample that ships has other classes",
            where="--calibration",
            hint="give about 128 images of the training set, as a folder, .zip or .npz",
        )
    pool = dataclasses.replace(sample().calibration, name=SHIPPED_NAME)
    return pool.spread(count), pool


def _evaluation(source: Source, path: Path | None, pool: ImageSet | None) -> tuple[ImageSet | None, tuple[Note, ...]]:
    if path is not None:
        return fitting(open_images(path, class_names=source.class_names), source), ()
    if _sample_serves(source) and pool is None:
        images = dataclasses.replace(sample().evaluation, name=SHIPPED_NAME)
        return (dataclasses.replace(images, labels=None), ()) if source.random else (images, ())
    if pool is not None:
        note = Note("data", "no --eval was given: the images of --calibration that did not calibrate were evaluated")
        if pool.labels is not None and pool.class_names is not None and len(pool.class_names) == source.num_classes:
            return pool, (note,)
        return dataclasses.replace(pool, labels=None), (note,)
    return None, (Note("data", "accuracy and drift were not measured: --eval names no images"),)


def _sample_serves(source: Source) -> bool:
    return source.shipped or source.random or source.class_names == sample().class_names


def fitting(images: ImageSet, source: Source) -> ImageSet:
    """Return the set itself; raises DataError EK207 when its labels are not those of the model's logits."""
    known = len(images.class_names) if images.class_names is not None else 0
    if images.labels is not None and known != source.num_classes:
        raise DataError(
            "EK207",
            f"the images have {known} classes and the model has {source.num_classes}",
            where=images.name,
            hint="put a classes.txt with all classes of the model, in its order, at the root of the images",
        )
    return images
