"""Training batches: the same whatever the timing, the memory or an interruption; broken images are stood in for."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.data import Augmentation, ImageSet, open_images, preprocess
from edgekit.errors import DataError
from edgekit.spec import Preprocessing
from edgekit.training._loader import TrainingImages

COUNT = 24
SIZE = 8
PREPROCESSING = Preprocessing(SIZE, SIZE)
PLAIN = Augmentation(flip=False)
CHANGED = Augmentation(crop_padding=2, flip=True, colour_jitter=0.3, erase=0.2)
IMAGE_BYTES = SIZE * SIZE * 3


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Image i is of the one colour 10 i and of the class i mod 3."""
    path = tmp_path_factory.mktemp("loader") / "set.npz"
    pixels = np.broadcast_to((np.arange(COUNT, dtype=np.uint8) * 10)[:, None, None, None], (COUNT, SIZE, SIZE, 3))
    np.savez(path, images=pixels, labels=np.arange(COUNT) % 3)
    return open_images(path)


class Watched:
    """A source that counts what is read from it, and takes its time."""

    def __init__(self, source: Any, seconds: float = 0.0) -> None:
        self._source = source
        self._seconds = seconds
        self.reads: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, index: int) -> Image.Image:
        self.reads.append(index)
        time.sleep(self._seconds * (index % 3))
        image: Image.Image = self._source.read(index)
        return image


def watched(images: ImageSet, seconds: float = 0.0) -> tuple[ImageSet, Watched]:
    source = Watched(images._source, seconds)
    return dataclasses.replace(images, _source=source), source


def epoch(loader: TrainingImages, number: int, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(loader.epoch(number, batch_size))
    return torch.cat([pixels for pixels, _ in batches]), torch.cat([labels for _, labels in batches])


def numbers(pixels: torch.Tensor) -> list[int]:
    """Tell from their colour which images these are."""
    red = pixels[:, 0, 0, 0] * PREPROCESSING.std[0] + PREPROCESSING.mean[0]
    return [round(float(value) * 25.5) for value in red]


def augmentation_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgekit-augment")]


@given(st.sampled_from([2, 3, 4, 6, 8, 12, 24]), st.integers(0, 5), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_an_epoch_has_each_image_once_with_its_label(images: ImageSet, batch: int, number: int, seed: int) -> None:
    pixels, labels = epoch(TrainingImages(images, PREPROCESSING, PLAIN, seed), number, batch)
    found = numbers(pixels)
    assert sorted(found) == list(range(COUNT))
    assert labels.tolist() == [index % 3 for index in found]


def test_the_order_changes_from_epoch_to_epoch_and_with_the_seed(images: ImageSet) -> None:
    orders = [
        numbers(epoch(TrainingImages(images, PREPROCESSING, PLAIN, seed), number, 6)[0])
        for seed, number in ((0, 0), (0, 1), (1, 0))
    ]
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize(("batch_size", "sizes"), [(5, [5, 5, 5, 5]), (16, [16]), (24, [24]), (100, [24])])
def test_an_incomplete_batch_is_left_out_unless_it_is_the_only_one(
    images: ImageSet, batch_size: int, sizes: list[int]
) -> None:
    loader = TrainingImages(images, PREPROCESSING, PLAIN, 0)
    assert [len(labels) for _, labels in loader.epoch(0, batch_size)] == sizes
    assert loader.steps(batch_size) == len(sizes)


def test_batches_do_not_depend_on_how_fast_images_come_or_go(images: ImageSet) -> None:
    expected = epoch(TrainingImages(images, PREPROCESSING, CHANGED, 3), 2, 4)
    slow, _ = watched(images, seconds=0.004)
    assert all(map(torch.equal, epoch(TrainingImages(slow, PREPROCESSING, CHANGED, 3), 2, 4), expected))
    parts = []
    for pixels, _ in TrainingImages(images, PREPROCESSING, CHANGED, 3).epoch(2, 4):
        time.sleep(0.005)
        parts.append(pixels)
    assert torch.equal(torch.cat(parts), expected[0])


def test_an_epoch_does_not_depend_on_those_before_it(images: ImageSet) -> None:
    used = TrainingImages(images, PREPROCESSING, CHANGED, 0)
    for number in range(3):
        epoch(used, number, 4)
    fresh = TrainingImages(images, PREPROCESSING, CHANGED, 0)
    assert all(map(torch.equal, epoch(used, 3, 4), epoch(fresh, 3, 4)))


@pytest.mark.parametrize(("room", "reads"), [(0, 48), (5 * IMAGE_BYTES + 1, 43), (1 << 20, 24)])
def test_decoded_images_are_kept_up_to_the_bound_and_change_nothing(images: ImageSet, room: int, reads: int) -> None:
    counted, source = watched(images)
    loader = TrainingImages(counted, PREPROCESSING, CHANGED, 0, cache_bytes=room)
    reference = TrainingImages(images, PREPROCESSING, CHANGED, 0)
    for number in range(2):
        assert all(map(torch.equal, epoch(loader, number, 6), epoch(reference, number, 6)))
    assert len(source.reads) == reads


def test_images_are_normalised_as_in_evaluation_and_lie_channels_last(images: ImageSet) -> None:
    (pixels, _), *_ = TrainingImages(images, PREPROCESSING, PLAIN, 0).epoch(0, COUNT)
    assert pixels.shape == (COUNT, 3, SIZE, SIZE)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    for image, index in zip(pixels, numbers(pixels), strict=True):
        np.testing.assert_allclose(image.numpy(), preprocess(images.read(index), PREPROCESSING), atol=1e-6)


def test_the_thread_ends_when_an_epoch_is_left_early(images: ImageSet) -> None:
    counted, source = watched(images)
    stream = TrainingImages(counted, PREPROCESSING, PLAIN, 0, cache_bytes=0).epoch(0, 1)
    next(stream)
    assert augmentation_threads()
    stream.close()
    assert not augmentation_threads()
    assert len(source.reads) < COUNT


def folder_with_broken(root: Path, count: int, broken: list[int]) -> ImageSet:
    for index in range(count):
        path = root / ("even" if index % 2 == 0 else "odd") / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if index in broken:
            path.write_bytes(b"no image")
        else:
            Image.new("RGB", (SIZE, SIZE), (index, 0, 0)).save(path)
    return open_images(root)


def test_a_broken_image_is_named_and_the_next_stands_in_with_its_own_label(tmp_path: Path) -> None:
    images = folder_with_broken(tmp_path / "set", 120, [118])  # the last of class even: the next is odd/001.png
    loader = TrainingImages(images, PREPROCESSING, PLAIN, 0)
    for number in range(2):
        pixels, labels = epoch(loader, number, 20)
        red = [round(float(v) * 255) for v in pixels[:, 0, 0, 0] * PREPROCESSING.std[0] + PREPROCESSING.mean[0]]
        assert sorted(red) == sorted([index for index in range(120) if index != 118] + [1])
        assert labels.tolist() == [index % 2 for index in red]
    assert [(image.identifier, image.reason) for image in loader.broken] == [
        ("even/118.png", "not a JPEG, PNG, WebP or BMP image")
    ]


def test_more_than_one_percent_of_broken_images_is_an_error(tmp_path: Path) -> None:
    images = folder_with_broken(tmp_path / "set", 120, [7, 60])
    with pytest.raises(DataError, match=r"EK203 .*2 of 120 images are broken so far"):
        epoch(TrainingImages(images, PREPROCESSING, PLAIN, 0), 0, 20)
    assert not augmentation_threads()


def test_a_set_of_nothing_but_broken_images_ends(tmp_path: Path) -> None:
    images = folder_with_broken(tmp_path / "set", 4, [0, 1, 2, 3])
    with pytest.raises(DataError, match="EK203"):
        epoch(TrainingImages(images, PREPROCESSING, PLAIN, 0), 0, 2)
