from __future__ import annotations

import gc
import threading
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import encoded, image_files, pixels, png, write_folder, write_zip
from PIL import Image

from edgekit.data import Batches, BrokenImage, ImageSet, batches, open_images, preprocess
from edgekit.data._decode import BrokenImageError, decode
from edgekit.errors import DataError
from edgekit.spec import Preprocessing

SMALL = Preprocessing(input_size=8, resize=9)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    names = [f"{name}/{index:02}.png" for name in ("cat", "dog") for index in range(12)]
    return open_images(write_zip(tmp_path_factory.mktemp("batches") / "set.zip", image_files(names)))


def set_with_broken(folder: Path, good: int, broken: dict[str, bytes]) -> ImageSet:
    files = image_files(f"{index:04}.png" for index in range(good))
    return open_images(write_folder(folder / "set", {**files, **broken}))


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgekit-decode")]


@given(st.integers(1, 30))
@settings(deadline=None, max_examples=15)
def test_every_image_comes_once_in_order_in_batches_of_any_size(images: ImageSet, batch_size: int) -> None:
    stream = list(batches(images, SMALL, batch_size))
    assert [len(batch.indices) for batch in stream[:-1]] == [batch_size] * (len(stream) - 1)
    assert [index for batch in stream for index in batch.indices] == list(range(24))
    assert np.concatenate([batch.labels for batch in stream if batch.labels is not None]).tolist() == [
        *([0] * 12),
        *([1] * 12),
    ]
    for batch in stream:
        assert batch.images.dtype == np.float32
        assert batch.images.shape == (len(batch.indices), 3, 8, 8)
        assert batch.images.flags["C_CONTIGUOUS"]
        assert batch.labels is not None
        assert batch.labels.dtype == np.int64
        for row, index in zip(batch.images, batch.indices, strict=True):
            assert np.array_equal(row, preprocess(images.read(index), SMALL))


def test_batches_without_labels_have_none(tmp_path: Path) -> None:
    flat = open_images(write_folder(tmp_path, {"a.png": png(1)}))
    assert next(batches(flat, SMALL)).labels is None


def test_one_percent_of_broken_images_is_skipped_and_named(tmp_path: Path) -> None:
    images = set_with_broken(tmp_path, 198, {"0050x.png": b"", "0150x.png": b"no image"})
    stream = batches(images, SMALL, 32)
    indices = [index for batch in stream for index in batch.indices]
    assert indices == [index for index in range(200) if "x" not in images.identifiers[index]]
    assert stream.broken == (
        BrokenImage("0050x.png", "the file is empty"),
        BrokenImage("0150x.png", "not a JPEG, PNG, WebP or BMP image"),
    )


def test_more_than_one_percent_broken_is_ek203_and_names_the_first(tmp_path: Path) -> None:
    images = set_with_broken(tmp_path, 197, {f"01{index}0x.png": b"" for index in range(3)})
    stream = batches(images, SMALL, 10)
    with pytest.raises(DataError) as caught:
        list(stream)
    assert caught.value.code == "EK203"
    assert "3 of 200" in caught.value.what
    assert "0100x.png" in caught.value.what
    assert len(stream.broken) == 3
    assert not decoding_threads()
    assert list(stream) == []


def test_the_error_comes_before_the_set_is_read_to_its_end(tmp_path: Path) -> None:
    images = set_with_broken(tmp_path, 300, {f"{index:04}x.png": b"" for index in range(0, 300, 2)})
    with pytest.raises(DataError, match=r"EK203 .*5 of 450"):
        list(batches(images, SMALL, 10))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(1)[:200], "truncated"),
        (encoded(pixels(1, 64, 64), "JPEG")[:-300], "truncated"),
        (encoded(Image.new("1", (10_000, 10_000))), "pixels"),
        (encoded(Image.new("1", (20_000, 20_000))), "decompression bomb"),
        (encoded(Image.new("RGB", (1, 65_000)), "BMP"), "too narrow"),
        (encoded(Image.new("RGB", (4, 4)), "GIF"), "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
    ],
    ids=["cut-png", "cut-jpeg", "large", "bomb", "narrow", "gif", "postscript"],
)
def test_what_cannot_be_decoded_is_broken_with_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    images = set_with_broken(tmp_path, 100, {"x.png": content})
    stream = batches(images, Preprocessing(input_size=64, resize=64), 50)
    assert sum(len(batch.indices) for batch in stream) == 100
    assert [image.identifier for image in stream.broken] == ["x.png"]
    assert reason in stream.broken[0].reason


def test_too_many_pixels_are_refused_where_pillow_only_warns() -> None:
    content = encoded(Image.new("1", (10_000, 10_000)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(BrokenImageError, match="10000x10000 pixels are too many"):
            decode(content, "x.png")


def test_a_file_that_vanishes_is_broken(tmp_path: Path) -> None:
    images = set_with_broken(tmp_path, 100, {})
    (tmp_path / "set" / "0042.png").unlink()
    stream = batches(images, SMALL, 100)
    assert len(next(stream).indices) == 99
    assert stream.broken == (BrokenImage("0042.png", "No such file or directory"),)


def test_an_empty_set_is_ek202(images: ImageSet) -> None:
    with pytest.raises(DataError) as caught:
        batches(images.select([]), SMALL)
    assert caught.value.code == "EK202"


def test_a_batch_of_nothing_is_refused(images: ImageSet) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        batches(images, SMALL, 0)


def test_threads_end_with_the_pass(images: ImageSet) -> None:
    assert len(list(batches(images, SMALL, 5))) == 5
    assert not decoding_threads()


def test_threads_end_when_the_pass_is_closed_half_way(images: ImageSet) -> None:
    stream = batches(images, SMALL, 5)
    next(stream)
    assert decoding_threads()
    stream.close()
    assert not decoding_threads()
    assert list(stream) == []


def test_threads_end_when_the_pass_is_forgotten_half_way(images: ImageSet) -> None:
    # Warnings are errors here: an exception in a thread or in a finaliser fails the test.
    for _ in zip(batches(images, SMALL, 5), range(2), strict=False):
        pass
    gc.collect()
    assert not decoding_threads()


def test_a_pass_that_never_starts_has_no_threads(images: ImageSet) -> None:
    stream = batches(images, SMALL)
    assert isinstance(stream, Batches)
    assert not decoding_threads()


def test_decoding_runs_ahead_of_the_consumer_but_only_so_far(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    read = ImageSet.read

    def counting_read(self: ImageSet, index: int) -> Image.Image:
        decoded.append(index)
        return read(self, index)

    monkeypatch.setattr(ImageSet, "read", counting_read)
    stream = batches(images, SMALL, 4)
    next(stream)
    deadline = time.monotonic() + 10
    while len(decoded) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    # Of the first batch 4, and in the window a batch and one image for each of two threads.
    assert len(decoded) == 4 + 4 + 2
    stream.close()


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    preprocessing = Preprocessing(input_size=64, resize=64)
    images = open_images(write_zip(tmp_path / "set.zip", {f"{i}.png": png(i, 64, 64) for i in range(400)}))

    def peak(part: ImageSet) -> int:
        tracemalloc.start()
        for _ in batches(part, preprocessing, 8):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(images.spread(40))
    few, many = peak(images.spread(40)), peak(images)
    pixels_of_the_others = 360 * 64 * 64 * 3
    # How far ahead the threads happen to be varies; holding on to the images would cost all of their pixels.
    assert many - few < 0.25 * pixels_of_the_others
