"""A set of images that can be counted, chosen from and compared without holding any of them in memory."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from PIL import Image

from edgekit.data._decode import BrokenImageError
from edgekit.data._sources import Source
from edgekit.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order. Open one with `open_images`.

    Attributes:
        name: The path as the user gave it.
        identifiers: Path of each image inside the set, the same on every machine.
        labels: Class index of each image; None when the set has no classes.
        class_names: Readable names in order of class index; None when there are none.
    """

    name: str
    identifiers: tuple[str, ...] = dataclasses.field(repr=False)
    labels: tuple[int, ...] | None = dataclasses.field(repr=False)
    class_names: tuple[str, ...] | None = dataclasses.field(repr=False)
    _source: Source = dataclasses.field(repr=False)
    _positions: Sequence[int] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.identifiers)

    def __reduce__(self) -> tuple[object, ...]:
        # What goes to another process is where these images are, and nothing of the set they were chosen from.
        source = self._source.only(self._positions)
        return (ImageSet, (self.name, self.identifiers, self.labels, self.class_names, source, range(len(self))))

    def read(self, index: int) -> Image.Image:
        """Return one image in mode RGB; raises BrokenImageError (with identifier and reason)."""
        return self._source.read(self._positions[index])

    def encoded(self, index: int) -> bytes:
        """Return the bytes of one image's file (npz: of its array, C order); raises BrokenImageError."""
        return self._source.encoded(self._positions[index])

    def archives(self) -> tuple[int, ...]:
        """Return the number of the archive (a tar shard) that each image lies in; 0 where there is one, or none."""
        return tuple(self._source.archive(position) for position in self._positions)

    def select(self, indices: Sequence[int]) -> ImageSet:
        """Return the set of the images at `indices`, in that order."""
        return dataclasses.replace(
            self,
            identifiers=tuple(self.identifiers[index] for index in indices),
            labels=None if self.labels is None else tuple(self.labels[index] for index in indices),
            _positions=tuple(self._positions[index] for index in indices),
        )

    def spread(self, count: int) -> ImageSet:
        """Return `count` images, evenly spaced over the set; all of them when there are fewer.

        Raises:
            DataError: EK208 when `count` is below 1.
        """
        if count < 1:
            raise DataError(
                "EK208", f"{count} images were asked for", where=self.name, hint="ask for at least one image"
            )
        return self if count >= len(self) else self.select(spread_indices(len(self), count))

    def without(self, other: ImageSet) -> ImageSet:
        """Return the images whose content is not in `other`, whatever their names.

        Content is the bytes that `encoded` returns. Files are hashed only where a file of the same size is
        in both sets; the rest is told apart by size alone.
        """
        other_sizes = other._by_size(range(len(other)))
        own_sizes = self._by_size(range(len(self)))
        shared = own_sizes.keys() & other_sizes.keys()
        hashes = {other.content_sha256(index) for size in shared for index in other_sizes[size]}
        dropped = {i for size in shared for i in own_sizes[size] if self.content_sha256(i) in hashes}
        return self.select([index for index in range(len(self)) if index not in dropped])

    def _by_size(self, indices: Iterable[int]) -> dict[int, list[int]]:
        sizes: dict[int, list[int]] = {}
        for index in indices:
            sizes.setdefault(self._source.size(self._positions[index]), []).append(index)
        return sizes

    def content_sha256(self, index: int) -> str:
        """Return the SHA-256 of one image's content; a file that cannot be read hashes as its name."""
        try:
            return hashlib.sha256(self.encoded(index)).hexdigest()
        except BrokenImageError:
            return hashlib.sha256(f"unreadable {self.identifiers[index]}".encode()).hexdigest()

    def sha256(self) -> str:
        """Return one SHA-256 over the identifier and content of every image, in order; reads all of them."""
        digest = hashlib.sha256()
        for index, identifier in enumerate(self.identifiers):
            digest.update(f"{self.content_sha256(index)}  {identifier}\n".encode())
        return digest.hexdigest()


def spread_indices(length: int, count: int) -> list[int]:
    """Return `count` indices below `length` at equal distances, starting with 0."""
    return [index * length // count for index in range(count)]


def require_labels(images: ImageSet) -> tuple[int, ...]:
    """Return the labels of a set; raises DataError EK204 when it has none."""
    if images.labels is None:
        raise DataError(
            "EK204",
            "the images have no labels",
            where=images.name,
            hint="give a folder or zip with one folder for each class, or an npz with labels",
        )
    return images.labels


def require_count(images: ImageSet, least: int = 1, *, purpose: str) -> ImageSet:
    """Return the set itself; raises DataError EK208 when it has fewer than `least` images.

    Args:
        images: The set.
        least: How many images are needed.
        purpose: What they are needed for, e.g. `evaluation`.
    """
    if len(images) < least:
        raise DataError(
            "EK208",
            f"{len(images)} images are left for {purpose} and {least} are needed",
            where=images.name,
            hint="give more images, or ask for fewer in the other steps that use this set",
        )
    return images
