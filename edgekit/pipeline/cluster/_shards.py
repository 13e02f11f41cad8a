"""Cutting a set of images into shards, by a rule that does not know how many workers there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgekit.data import ImageSet

# A multiple of every batch size in use: shards then hold the batches that the whole set is read in. Large enough that
# opening the model is lost beside it, small enough that a lost worker costs little (docs/scaling.md).
SHARD: Final = 512


def shards(images: ImageSet, size: int = SHARD) -> Iterator[ImageSet]:
    """Yield a set in pieces of `size` neighbours; the last may have fewer."""
    for start in range(0, len(images), size):
        yield images.select(range(start, min(start + size, len(images))))
