"""Where images come from and how they become model inputs."""

from __future__ import annotations

from edgekit.data._augment import Augmentation, augment
from edgekit.data._batches import Batch, Batches, BrokenImage, batches, require_few_broken
from edgekit.data._decode import BrokenImageError
from edgekit.data._find import shard_files
from edgekit.data._image_set import ImageSet, require_count, require_labels
from edgekit.data._index_cache import KeptIndex, drop_indexes, index_folder, kept_indexes
from edgekit.data._open import fingerprint, open_images
from edgekit.data._preprocess import crop, normalise, preprocess
from edgekit.data._sample import Sample, sample

__all__ = [
    "Augmentation",
    "Batch",
    "Batches",
    "BrokenImage",
    "BrokenImageError",
    "ImageSet",
    "KeptIndex",
    "Sample",
    "augment",
    "batches",
    "crop",
    "drop_indexes",
    "fingerprint",
    "index_folder",
    "kept_indexes",
    "normalise",
    "open_images",
    "preprocess",
    "require_count",
    "require_few_broken",
    "require_labels",
    "sample",
    "shard_files",
]
