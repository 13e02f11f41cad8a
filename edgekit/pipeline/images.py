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
    calibration: Path | str | None,
    calibration_samples: int,
    evaluation: Path | str | None,
    evaluation_samples: int | None,
) -> Images:
    """Open the images that were named, or find fitting ones.

    The sample that ships serves the model that ships, any model of the same classes and, without labels, random
    weights. Where it does not serve, images of `calibration` that do not calibrate are evaluated.

    Raises:
        UsageError: EK001 when calibration is needed and no images are named.
        DataError: EK2xx when images cannot be used.
    """
    chosen = _calibration(source, calibration, calibration_samples) if calibrates else None
    notes: tuple[Note, ...] = ()
    if calibration is not None and not calibrates:
        notes = (Note("data", "--calibration was not used: only static quantization calibrates"),)
    evaluated = None
    if evaluation is not None:
        evaluated = fitting(open_images(evaluation, class_names=source.class_names), source)
    elif chosen is not None and calibration is not None and (source.random or not sample_serves(source)):
        evaluated = _labelled_where_it_fits(calibration, source)
        if len(evaluated) > len(chosen):
            text = "no --eval was given: the images of --calibration that did not calibrate were evaluated"
            notes = (*notes, Note("data", text))
        else:
            evaluated = None
    elif sample_serves(source):
        evaluated = shipped_evaluation(source)
    if evaluated is None:
        return Images(chosen, None, 0, (*notes, Note("data", "accuracy and drift were not measured: give --eval")))
    rest = evaluated if chosen is None else evaluated.without(chosen)
    excluded = len(evaluated) - len(rest)
    require_count(rest, purpose="evaluation")
    if evaluation_samples is not None:
        rest = rest.spread(evaluation_samples)
    return Images(chosen, rest, excluded, notes)


def _calibration(source: Source, path: Path | str | None, count: int) -> ImageSet:
    if path is not None:
        return open_images(path).spread(count)
    if not sample_serves(source):
        raise UsageError(
            "EK001",
            "static quantization needs images to calibrate on, and the sample that ships has other classes",
            where="--calibration",
            hint="give about 128 images of the training set, as a folder, .zip, .tar or .npz",
        )
    return dataclasses.replace(sample().calibration, name=SHIPPED_NAME).spread(count)


def _labelled_where_it_fits(path: Path | str, source: Source) -> ImageSet:
    """Open images that need no labels, with those that certainly are the model's classes."""
    try:
        return fitting(open_images(path, class_names=source.class_names), source)
    except DataError as error:
        if error.code != "EK207":
            raise
        return dataclasses.replace(open_images(path), labels=None)


def sample_serves(source: Source) -> bool:
    """Tell whether the sample that ships is of any use for a model."""
    return source.shipped or source.random or source.class_names == sample().class_names


def shipped_evaluation(source: Source) -> ImageSet:
    """Return the evaluation images that ship, without labels for random weights, which cannot know them."""
    images = dataclasses.replace(sample().evaluation, name=SHIPPED_NAME)
    return dataclasses.replace(images, labels=None) if source.random else images


def evaluation_images(source: Source, evaluation: Path | str | None, samples: int | None) -> ImageSet:
    """Open the images that were named, or the sample that ships where its classes are those of the model.

    Raises:
        DataError: EK2xx when images cannot be used, EK207 when none were named and the sample does not fit.
    """
    if evaluation is not None:
        images = fitting(open_images(evaluation, class_names=source.class_names), source)
    elif sample_serves(source):
        images = shipped_evaluation(source)
    else:
        raise DataError(
            "EK207",
            "the sample that ships has other classes than the model",
            where=source.name,
            hint="give labelled images with --eval",
        )
    return require_count(images if samples is None else images.spread(samples), purpose="evaluation")


def fitting(images: ImageSet, source: Source) -> ImageSet:
    """Return the set itself; raises DataError EK207 when its labels are not those of the model's logits."""
    if images.labels is None:
        return images
    if images.class_names is not None:
        known = len(images.class_names)
        fits = known == source.num_classes
    else:  # Numbers of an npz, which have no names where the model has none.
        known = max(images.labels) + 1
        fits = known <= source.num_classes
    if not fits:
        raise DataError(
            "EK207",
            f"the images have {known} classes and the model has {source.num_classes}",
            where=images.name,
            hint="put a classes.txt with all classes of the model, in its order, at the root of the images",
        )
    return images
