"""Streaming a set of images as float batches: decoded ahead in threads, in order, nothing kept."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from edgekit.data._decode import BrokenImageError
from edgekit.data._image_set import ImageSet
from edgekit.data._preprocess import UnusableShapeError, crop, normalise
from edgekit.errors import DataError
from edgekit.spec import Preprocessing

# Pillow releases the interpreter's lock while it decodes and resizes.
_THREADS = 2
_NAMED_IN_MESSAGE = 3
# More broken images than this share of the set is an error.
_BROKEN_PERCENT = 1


@dataclasses.dataclass(frozen=True)
class BrokenImage:
    """An image that was skipped, and why."""

    identifier: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Images as a model takes them.

    Attributes:
        images: float32 (N, 3, input_size, input_size), normalised.
        labels: int64 (N,); None when the set has no labels.
        indices: Place of each image in the set that was iterated.
    """

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None
    indices: tuple[int, ...]


class Batches(Iterator[Batch]):
    """One pass over a set, in order; broken images are skipped and remembered in `broken`.

    At most one batch and `_THREADS` images more are decoded ahead as 8-bit pixels, so memory does not depend
    on the size of the set. The threads end with the pass, with `close`, or when the object is forgotten.

    Args:
        images: The set.
        preprocessing: What the model expects.
        batch_size: Images in each batch; the last batch may have fewer.
        whole: Images of the whole set where this is a shard of one; one percent of that many may be broken.

    Raises:
        ValueError: `batch_size` is below 1.
        DataError: EK202 when the set is empty. While iterating, EK203 as soon as more than one percent of the
            set has proved broken.
    """

    def __init__(
        self, images: ImageSet, preprocessing: Preprocessing, batch_size: int = 1, whole: int | None = None
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}")
        if not len(images):
            raise DataError(
                "EK202", "there are no images", where=images.name, hint="give a set with at least one image"
            )
        self._images = images
        self._preprocessing = preprocessing
        self._batch_size = batch_size
        self._whole = whole or len(images)
        self._broken: list[BrokenImage] = []
        self._pixels = _decoded_ahead(images, preprocessing, _THREADS + batch_size)

    @property
    def broken(self) -> tuple[BrokenImage, ...]:
        """The images skipped so far, in order."""
        return tuple(self._broken)

    def __next__(self) -> Batch:
        indices: list[int] = []
        rows: list[npt.NDArray[np.uint8]] = []
        for index, result in self._pixels:
            if isinstance(result, BrokenImage):
                self._skip(result)
                continue
            indices.append(index)
            rows.append(result)
            if len(rows) == self._batch_size:
                break
        if not rows:
            raise StopIteration
        labels = self._images.labels
        return Batch(
            images=normalise(np.stack(rows), self._preprocessing),
            labels=None if labels is None else np.array([labels[index] for index in indices], dtype=np.int64),
            indices=tuple(indices),
        )

    def close(self) -> None:
        """End the pass and its threads early; the next batch is the end."""
        self._pixels.close()

    def _skip(self, image: BrokenImage) -> None:
        self._broken.append(image)
        try:
            require_few_broken(self._broken, self._whole, self._images.name)
        except DataError:
            self.close()
            raise


def require_few_broken(broken: Sequence[BrokenImage], whole: int, name: str) -> None:
    """Raise DataError EK203 when more than one percent of a set of `whole` images is broken."""
    if len(broken) * 100 <= whole * _BROKEN_PERCENT:
        return
    named = ", ".join(f"{image.identifier} ({image.reason})" for image in broken[:_NAMED_IN_MESSAGE])
    more = ", …" if len(broken) > _NAMED_IN_MESSAGE else ""
    raise DataError(
        "EK203",
        f"{len(broken)} of {whole} images are broken so far: {named}{more}",
        where=name,
        hint="replace or remove the broken images",
    )


def batches(images: ImageSet, preprocessing: Preprocessing, batch_size: int = 1, whole: int | None = None) -> Batches:
    """Return an iterator of `Batch` over the set, in order; see `Batches`."""
    return Batches(images, preprocessing, batch_size, whole)


def _decoded_ahead(
    images: ImageSet, preprocessing: Preprocessing, window: int
) -> Generator[tuple[int, npt.NDArray[np.uint8] | BrokenImage], None, None]:
    """Yield the pixels of each image in order, while up to `window` later ones are being decoded."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="edgekit-decode")

    def start(index: int) -> tuple[int, Future[npt.NDArray[np.uint8] | BrokenImage]]:
        return index, pool.submit(_decode, images, index, preprocessing)

    try:
        remaining = iter(range(len(images)))
        pending = deque(start(index) for index in itertools.islice(remaining, window))
        while pending:
            index, future = pending.popleft()
            result = future.result()
            pending.extend(start(following) for following in itertools.islice(remaining, 1))
            yield index, result
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(images: ImageSet, index: int, preprocessing: Preprocessing) -> npt.NDArray[np.uint8] | BrokenImage:
    try:
        return crop(images.read(index), preprocessing)
    except BrokenImageError as error:
        return BrokenImage(error.identifier, error.reason)
    except UnusableShapeError as error:
        return BrokenImage(images.identifiers[index], str(error))
