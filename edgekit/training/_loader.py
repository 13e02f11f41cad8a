"""Training batches: decoded once where memory allows, augmented afresh each epoch, made ahead of the step."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from edgekit.data import Augmentation, BrokenImage, BrokenImageError, ImageSet, augment
from edgekit.errors import DataError
from edgekit.spec import Preprocessing
from edgekit.training._place import Place

CACHE_BYTES = 1 << 30
AHEAD = 4
# Beside a GPU the cores have nothing else to do; more threads than these wait for one another.
MOST_THREADS = 8
BROKEN_SHARE = 0.01


class TrainingImages:
    """The images of a data set as augmented batches.

    Every image's random changes depend on (seed, epoch, index) alone, so a run that was interrupted and resumed
    sees the same batches as one that was not. Decoded images are kept up to `cache_bytes`; beyond that they are
    decoded again each epoch, so memory does not grow with the data set.

    Args:
        images: Images, with labels where the loss needs them.
        preprocessing: Gives the input size, mean and standard deviation.
        augmentation: Random changes.
        seed: Seed of the order and of the changes.
        place: Where batches go, and which part of each.
        cache_bytes: Bytes of decoded images kept in memory.
    """

    def __init__(
        self,
        images: ImageSet,
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        seed: int,
        place: Place | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._images = images
        self._place = place or Place()
        # -1 stands for no label: a teacher may take its place.
        self.labelled = images.labels is not None
        self._labels = np.asarray(images.labels or [-1] * len(images), dtype=np.int64)
        self._size = preprocessing.input_size
        device = self._place.device
        self._mean = (torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255).to(device)
        self._std = (torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255).to(device)
        self._augmentation = augmentation
        self._seed = seed
        self._cache: dict[int, npt.NDArray[np.uint8]] = {}
        self._room = cache_bytes
        self._broken: dict[int, BrokenImage] = {}
        self._lock = threading.Lock()
        self._threads = 1 if device.type == "cpu" else min(os.cpu_count() or 1, MOST_THREADS)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def broken(self) -> tuple[BrokenImage, ...]:
        """The images that could not be read so far; the next one in the set stood in for each."""
        return tuple(self._broken[index] for index in sorted(self._broken))

    def steps(self, batch_size: int) -> int:
        """Return the steps of an epoch: an incomplete last batch is left out unless it is the only one."""
        return max(len(self) // batch_size, 1)

    def epoch(self, number: int, batch_size: int) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
        """Yield (images float32 (N, 3, H, W) in channels-last memory, labels int64 (N,)) in this epoch's order.

        A process of several gets its share of each batch. Batches are made beforehand by threads, which end with the
        generator.

        Raises:
            DataError: EK203 as soon as more than one percent of the set has proved broken.
        """
        order = np.random.default_rng((self._seed, number)).permutation(len(self))
        starts = (step * batch_size for step in range(self.steps(batch_size)))
        chunks = [self._place.share(order[start : start + batch_size].tolist()) for start in starts]
        ahead = AHEAD * self._threads
        with concurrent.futures.ThreadPoolExecutor(self._threads, "edgekit-augment") as pool:
            pending = [pool.submit(self._batch, number, chunk) for chunk in chunks[:ahead]]
            try:
                for step in range(len(chunks)):
                    pixels, labels = pending.pop(0).result()
                    if step + ahead < len(chunks):
                        pending.append(pool.submit(self._batch, number, chunks[step + ahead]))
                    yield self._normalise(pixels), torch.from_numpy(labels).to(self._place.device)
            finally:
                for future in pending:
                    future.cancel()

    def _normalise(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        # NHWC bytes seen as NCHW are channels-last memory: no copy is needed to get the faster layout.
        images = torch.from_numpy(pixels).to(self._place.device).permute(0, 3, 1, 2).float()
        return images.sub_(self._mean).div_(self._std)

    def _batch(self, epoch: int, indices: Sequence[int]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        pixels = np.empty((len(indices), self._size, self._size, 3), np.uint8)
        labels = np.empty(len(indices), np.int64)
        for position, wanted in enumerate(indices):
            index, image = self._readable(wanted)
            random = np.random.default_rng((self._seed, epoch, wanted))
            pixels[position] = augment(image, self._size, self._augmentation, random)
            labels[position] = self._labels[index]
        return pixels, labels

    def _readable(self, index: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """Return an image, or the next one that can be read; raises DataError EK203 after too many broken ones."""
        while True:
            cached = self._cache.get(index)
            if cached is not None:
                return index, cached
            if index not in self._broken:
                try:
                    pixels = np.asarray(self._images.read(index))
                except BrokenImageError as error:
                    self._note_broken(index, BrokenImage(error.identifier, error.reason))
                else:
                    self._keep(index, pixels)
                    return index, pixels
            index = (index + 1) % len(self)

    def _keep(self, index: int, pixels: npt.NDArray[np.uint8]) -> None:
        with self._lock:
            if index not in self._cache and pixels.nbytes <= self._room:
                self._room -= pixels.nbytes
                self._cache[index] = pixels

    def _note_broken(self, index: int, image: BrokenImage) -> None:
        self._broken[index] = image
        if len(self._broken) > BROKEN_SHARE * len(self):
            raise DataError(
                "EK203",
                f"{len(self._broken)} of {len(self)} images are broken so far, the last is {image.identifier} "
                f"({image.reason})",
                where=self._images.name,
                hint="replace or remove the broken images",
            )
