from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import image_files, png, write_folder, write_zip

from edgekit.data import ImageSet, open_images, require_count, require_labels
from edgekit.data._image_set import spread_indices
from edgekit.errors import DataError


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    names = [f"{name}/{index}.png" for name in ("cat", "dog") for index in range(5)]
    return open_images(write_folder(tmp_path / "set", image_files(names)))


def test_select_keeps_images_labels_and_classes_together(images: ImageSet) -> None:
    chosen = images.select([7, 0]).select([1, 0])
    assert chosen.identifiers == ("cat/0.png", "dog/2.png")
    assert chosen.labels == (0, 1)
    assert chosen.class_names == ("cat", "dog")
    assert chosen.encoded(1) == images.encoded(7)


def test_spread_takes_images_at_equal_distances(images: ImageSet) -> None:
    assert images.spread(4).identifiers == ("cat/0.png", "cat/2.png", "dog/0.png", "dog/2.png")
    assert images.spread(2).labels == (0, 1)
    assert images.spread(10).identifiers == images.identifiers
    assert images.spread(999).identifiers == images.identifiers


@given(st.data(), st.integers(1, 2000))
def test_spread_indices_are_distinct_and_their_distances_differ_by_at_most_one(
    data: st.DataObject, length: int
) -> None:
    count = data.draw(st.integers(1, length))
    indices = spread_indices(length, count)
    assert len(indices) == count
    assert indices[0] == 0
    assert indices[-1] < length
    steps = np.diff([*indices, length])
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize("count", [0, -1])
def test_spreading_over_no_image_is_ek208(images: ImageSet, count: int) -> None:
    with pytest.raises(DataError) as caught:
        images.spread(count)
    assert caught.value.code == "EK208"


def test_without_drops_equal_content_whatever_its_name(images: ImageSet, tmp_path: Path) -> None:
    other = open_images(
        write_zip(tmp_path / "o.zip", {"renamed.png": images.encoded(3), "same_size.png": images.encoded(4)[::-1]})
    )
    rest = images.without(other)
    assert rest.identifiers == tuple(name for name in images.identifiers if name != "cat/3.png")
    assert rest.labels == (0, 0, 0, 0, 1, 1, 1, 1, 1)


def test_without_itself_nothing_is_left(images: ImageSet) -> None:
    calibration = images.spread(4)
    rest = images.without(calibration)
    assert len(rest) == 6
    assert not set(rest.identifiers) & set(calibration.identifiers)
    assert len(images.without(images)) == 0


def test_without_drops_every_copy(tmp_path: Path) -> None:
    twins = open_images(write_folder(tmp_path / "set", {"a.png": png(1), "b.png": png(1), "c.png": png(2)}))
    assert twins.without(twins.select([0])).identifiers == ("c.png",)


def test_without_reads_only_files_whose_size_is_in_both_sets(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_images(write_folder(tmp_path / "other", {"big.png": png(1, 50, 50)}))

    def refuse(self: ImageSet, index: int) -> bytes:
        raise AssertionError(f"{self.identifiers[index]} was read")

    monkeypatch.setattr(ImageSet, "encoded", refuse)
    assert len(images.without(other)) == 10


def test_sha256_is_that_of_a_checksum_list(images: ImageSet) -> None:
    lines = "".join(
        f"{hashlib.sha256(images.encoded(index)).hexdigest()}  {name}\n"
        for index, name in enumerate(images.identifiers)
    )
    assert images.sha256() == hashlib.sha256(lines.encode()).hexdigest()


def test_sha256_does_not_depend_on_where_the_set_lies(images: ImageSet, tmp_path: Path) -> None:
    files = {name: images.encoded(index) for index, name in enumerate(images.identifiers)}
    packed = open_images(write_zip(tmp_path / "set.zip", dict(reversed(files.items()))))
    assert packed.sha256() == images.sha256()
    assert packed.select([1, 0]).sha256() != packed.select([0, 1]).sha256()


def test_labels_that_are_needed_and_absent_are_ek204(images: ImageSet, tmp_path: Path) -> None:
    assert require_labels(images) == images.labels
    flat = open_images(write_folder(tmp_path / "flat", {"a.png": png(1)}))
    with pytest.raises(DataError) as caught:
        require_labels(flat)
    assert caught.value.code == "EK204"


def test_too_few_images_are_ek208(images: ImageSet) -> None:
    assert require_count(images, 10, purpose="evaluation") is images
    with pytest.raises(DataError, match=r"EK208 .*0 images are left for evaluation"):
        require_count(images.without(images), purpose="evaluation")
