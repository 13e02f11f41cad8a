from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_factory import pixels

from edgekit.data import open_images
from edgekit.errors import DataError

IMAGES = np.stack([pixels(seed, 6, 5) for seed in range(4)])


def save(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def assert_unknown_form(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_images(path)
    assert caught.value.code == "EK206"
    return caught.value.what


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("key", ["images", "x", "data"])
def test_an_npz_holds_images_row_by_row(tmp_path: Path, compressed: bool, order: Any, key: str) -> None:
    path = save(tmp_path / "set.npz", compressed, **{key: np.array(IMAGES, order=order), "y": [3, 0, 1, 3]})
    images = open_images(path)
    assert images.labels == (3, 0, 1, 3)
    assert images.identifiers == tuple(f"{key}[{index}]" for index in range(4))
    assert images.encoded(2) == IMAGES[2].tobytes()
    assert all(np.array_equal(np.asarray(images.read(index)), IMAGES[index]) for index in range(4))


def test_arrays_that_lie_behind_others_in_the_file_are_found(tmp_path: Path) -> None:
    path = save(tmp_path / "set.npz", a=np.arange(999), labels=np.arange(4), images=IMAGES, z=np.arange(7))
    images = open_images(path)
    assert images.encoded(3) == IMAGES[3].tobytes()
    assert images.labels == (0, 1, 2, 3)


@pytest.mark.parametrize("grey", [IMAGES[..., 0], IMAGES[..., :1]])
def test_grey_images_become_rgb(tmp_path: Path, grey: Any) -> None:
    image = np.asarray(open_images(save(tmp_path / "set.npz", x=grey)).read(1))
    assert np.array_equal(image, np.repeat(IMAGES[1, ..., :1], 3, axis=2))


def test_without_labels_there_are_none(tmp_path: Path) -> None:
    images = open_images(save(tmp_path / "set.npz", images=IMAGES), class_names=("a", "b"))
    assert images.labels is None
    assert images.class_names is None


def test_a_column_of_labels_is_accepted(tmp_path: Path) -> None:
    path = save(tmp_path / "set.npz", x=IMAGES, y=np.array([[1], [0], [1], [1]], dtype=np.uint8))
    images = open_images(path, class_names=("a", "b"))
    assert images.labels == (1, 0, 1, 1)
    assert images.class_names == ("a", "b")


def test_labels_beyond_the_classes_of_the_model_are_ek207(tmp_path: Path) -> None:
    path = save(tmp_path / "set.npz", x=IMAGES, y=[0, 1, 2, 0])
    with pytest.raises(DataError) as caught:
        open_images(path, class_names=("a", "b"))
    assert caught.value.code == "EK207"


def test_an_array_of_no_images_is_ek202(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_images(save(tmp_path / "set.npz", x=IMAGES[:0]))
    assert caught.value.code == "EK202"


@pytest.mark.parametrize(
    "arrays",
    [
        {"pictures": IMAGES},
        {"x": IMAGES.astype(np.float32)},
        {"x": IMAGES.transpose(0, 3, 1, 2)},
        {"x": IMAGES[0, :, 0]},
        {"x": IMAGES[:, :0]},
        {"x": IMAGES, "y": [0, 1]},
        {"x": IMAGES, "y": [0.0, 1.0, 2.0, 3.0]},
        {"x": IMAGES, "y": [0, 1, -1, 0]},
        {"x": IMAGES, "y": np.arange(100_000)},
    ],
    ids=["no-key", "float", "channels-first", "one-image", "no-pixels", "few", "real", "negative", "many"],
)
def test_arrays_of_another_form_are_ek206(tmp_path: Path, arrays: dict[str, Any]) -> None:
    assert assert_unknown_form(save(tmp_path / "set.npz", **arrays))


@pytest.mark.parametrize("key", ["x", "y"])
def test_a_pickle_is_not_opened_but_ek206(tmp_path: Path, key: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    arrays: dict[str, Any] = {"x": IMAGES, key: np.array([Trap()] * 4, dtype=object)}
    assert_unknown_form(save(tmp_path / "set.npz", **arrays))
    assert not (tmp_path / "sprung").exists()


def test_a_header_that_says_more_than_there_is_is_ek206(tmp_path: Path) -> None:
    path = save(tmp_path / "set.npz", x=IMAGES)
    path.write_bytes(path.read_bytes().replace(b"(4, 6, 5, 3)", b"(9, 6, 5, 3)"))
    assert_unknown_form(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_memory_does_not_grow_with_the_array(tmp_path: Path, compressed: bool) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (256, 128, 128, 3), dtype=np.uint8)
    path = save(tmp_path / "set.npz", compressed, images=rows)
    size = rows.nbytes
    del rows
    tracemalloc.start()
    images = open_images(path)
    for index in range(len(images)):
        images.read(index)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 3
