"""Where images come from and how they become model inputs."""

from __future__ import annotations

from edgekit.data._augment import Augmentation, augment
from edgekit.data._batches import Batch, Batches, BrokenImage, batches, require_few_broken
from edgekit.data._decode import BrokenImageError
from edgekit.data._image_set import ImageSet, require_count, require_labels
from edgekit.data._open import open_images
from edgekit.data._preprocess import crop, normalise, preprocess
from edgekit.data._sample import Sample, sample

__all__ = [
    "Augmentation",
    "Batch",
    "Batches",
    "BrokenImage",
    "BrokenImageError",
    "ImageSet",
    "Sample",
    "augment",
    "batches",
    "crop",
    "normalise",
    "open_images",
    "preprocess",
    "require_count",
    "require_few_broken",
    "require_labels",
    "sample",
]
