"""Cutting a set of images into shards, by a rule that does not know how many workers there are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from edgekit.data import ImageSet

# A multiple of every batch size in use: shards then hold the batches that the whole set is read in. Large enough that
# opening the model is lost beside it, small enough that a lost worker costs little (docs/scaling.md).
SHARD: Final = 512


def shards(images: ImageSet, size: int = SHARD) -> Iterator[ImageSet]:
    """Yield a set in pieces of `size` neighbours at most; see `places`."""
    for piece in places(images, size):
        yield images.select(piece)


def places(images: ImageSet, size: int = SHARD, *, batch: int = 1) -> Iterator[Sequence[int]]:
    """Yield the places of the images of each shard: `size` at most, where it can be of whole archives.

    A shard ends where an archive ends (a tar shard: its images then come from few of them, from front to back), unless
    it would be less than half full.

    Args:
        images: The set.
        size: Images of a shard at most; a multiple of `batch`.
        batch: Above 1, the images stay in the order of the set, and each shard but the last holds whole batches of so
            many. With 1 they are put together by archive, wherever they are in the order of the set.
    """
    archives = images.archives()
    order: Sequence[int] = range(len(images))
    if batch == 1 and any(following < before for before, following in itertools.pairwise(archives)):
        order = sorted(order, key=archives.__getitem__)
    start = 0
    while start < len(order):
        end = _end([archives[place] for place in order[start : start + size + 1]], size, batch)
        yield order[start : start + end]
        start += end


def _end(archives: Sequence[int], size: int, batch: int) -> int:
    """Return how many images the next shard takes, given the archives of those and of the one that follows them."""
    if len(archives) <= size:
        return len(archives)
    for end in range(size, size // 2, -1):
        if archives[end] != archives[end - 1]:
            return end - end % batch or size
    return size
