"""Work by shards comes to the same bytes as work on the whole, and shards travel light."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.calibrate import Summary, collect, save
from edgekit.data import ImageSet, batches, open_images, sample
from edgekit.errors import DataError, UsageError
from edgekit.pipeline.cluster import HERE, collect_shards, evaluate_shards, places, ray_workers, shards
from edgekit.pipeline.cluster._ray import require_versions, versions
from edgekit.pipeline.sources import Source
from edgekit.quantize import flavour_for, tensors_to_calibrate
from edgekit.validate import PairedEvaluation, evaluate_pair, runner, session


@pytest.fixture(scope="module")
def tensors(shipped_source: Source) -> tuple[str, ...]:
    return tuple(tensors_to_calibrate(shipped_source.model, flavour_for("cpu")))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[dict[str, Summary]], bytes]:
    """The bytes of the calibration file that summaries make."""

    def write(summaries: dict[str, Summary]) -> bytes:
        save(summaries, tmp_path / "calibration.safetensors", "graph", "images")
        return (tmp_path / "calibration.safetensors").read_bytes()

    return write


def in_tars(packed: Path, folder: Path, count: int) -> Path:
    """Deal the images of a zip archive out to tar shards, one after another."""
    folder.mkdir()
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        for number in range(count):
            with tarfile.open(folder / f"{number}.tar", "w") as shard:
                for name in names[number::count]:
                    member = tarfile.TarInfo(name)
                    member.size = archive.getinfo(name).file_size
                    shard.addfile(member, archive.open(name))
    return folder


def arrays(pair: PairedEvaluation) -> list[bytes]:
    """The bytes of every array of an evaluation."""
    sides = [
        getattr(side, field.name) for side in (pair.baseline, pair.candidate) for field in dataclasses.fields(side)
    ]
    return [np.asarray(each).tobytes() for each in (*sides, pair.kl, pair.signal, pair.noise)]


def test_shards_are_the_set_in_order(images: ImageSet) -> None:
    parts = list(shards(images, 32))
    assert [len(part) for part in parts] == [32, 32, 32, 4]
    assert [name for part in parts for name in part.identifiers] == list(images.identifiers)


class Archived:
    """A set of which only the archives count.

    Args:
        archives: Number of the archive of each image.
    """

    def __init__(self, archives: Sequence[int]) -> None:
        self._archives = tuple(archives)

    def __len__(self) -> int:
        return len(self._archives)

    def archives(self) -> tuple[int, ...]:
        return self._archives


def cut(archives: Sequence[int], size: int, batch: int = 1) -> list[list[int]]:
    return [list(piece) for piece in places(cast("ImageSet", Archived(archives)), size, batch=batch)]


def test_shards_end_where_archives_end() -> None:
    assert cut([0] * 5 + [1] * 5, 8) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert cut([0] * 3 + [1] * 3 + [2] * 3, 7) == [[0, 1, 2, 3, 4, 5], [6, 7, 8]]
    # An archive of more images than a shard is cut; what is less than half a shard goes with the next.
    assert [len(piece) for piece in cut([0] * 10 + [1] * 10, 8)] == [8, 8, 4]
    assert [len(piece) for piece in cut([0] * 13 + [1] * 10, 8)] == [8, 5, 8, 2]


def test_calibration_reads_archive_by_archive_and_evaluation_in_the_order_of_the_set() -> None:
    dealt = [0, 1] * 8
    assert cut(dealt, 8) == [list(range(0, 16, 2)), list(range(1, 16, 2))]
    assert cut(dealt, 8, batch=4) == [list(range(8)), list(range(8, 16))]


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 5), st.integers(1, 4))
def test_shards_hold_every_image_once_in_whole_batches(archives: list[int], batches: int, batch: int) -> None:
    pieces = cut(archives, batches * batch, batch)
    assert sorted(place for piece in pieces for place in piece) == list(range(len(archives)))
    assert all(0 < len(piece) <= batches * batch for piece in pieces)
    if batch > 1:
        assert [place for piece in pieces for place in piece] == list(range(len(archives)))
        assert all(len(piece) % batch == 0 for piece in pieces[:-1])


def test_tar_shards_calibrate_to_the_same_bytes_and_evaluate_to_the_same_rows(
    archive: Callable[..., Path],
    images: ImageSet,
    shipped_source: Source,
    tensors: tuple[str, ...],
    int8_blob: bytes,
    written: Callable[[dict[str, Summary]], bytes],
    tmp_path: Path,
) -> None:
    few = images.select(range(0, 100, 4))
    packed = archive(few, "set.zip")
    blobs = shipped_source.model.SerializeToString(), int8_blob
    results = []
    for location in (packed, in_tars(packed, tmp_path / "tars", 3), f"file://{packed}"):
        opened = open_images(location, class_names=images.class_names)
        summaries, _ = collect_shards(HERE, shipped_source.model, opened, shipped_source.preprocessing, tensors, size=8)
        evaluated = evaluate_shards(HERE, *blobs, opened, shipped_source.preprocessing, size=8)
        results.append((written(summaries), arrays(evaluated.pair), evaluated.images.sha256(), opened.labels))
    assert results[1] == results[0]
    assert results[2] == results[0]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_calibration_by_shards_is_the_same_file(
    size: int, shipped_source: Source, tensors: tuple[str, ...], written: Callable[[dict[str, Summary]], bytes]
) -> None:
    few = sample().calibration.spread(12)
    stream = (batch.images for batch in batches(few, shipped_source.preprocessing))
    whole = collect(shipped_source.model, stream, tensors, threads=1)
    parts, broken = collect_shards(HERE, shipped_source.model, few, shipped_source.preprocessing, tensors, size=size)
    assert not broken
    assert written(parts) == written(whole)


def test_evaluation_by_shards_is_the_same_rows(shipped_source: Source, images: ImageSet, int8_blob: bytes) -> None:
    blobs = shipped_source.model.SerializeToString(), int8_blob
    first, second = (runner(session(blob, threads=1)) for blob in blobs)
    whole = evaluate_pair(first, second, batches(images, shipped_source.preprocessing, 8))
    parts = evaluate_shards(HERE, *blobs, images, shipped_source.preprocessing, size=32)
    assert parts.images.identifiers == images.identifiers
    assert arrays(parts.pair) == arrays(whole)
    assert not np.array_equal(whole.noise, np.zeros(len(images)))


@pytest.fixture(scope="module")
def int8_blob(earlier: Path) -> bytes:
    return (earlier / "model.int8.onnx").read_bytes()


def test_one_broken_image_in_a_hundred_is_no_fault_of_its_shard(
    archive: Callable[..., Path], images: ImageSet, shipped_source: Source, tensors: tuple[str, ...], int8_blob: bytes
) -> None:
    opened = open_images(archive(images, "set.zip", broken=[17]), class_names=images.class_names)
    (place,) = [index for index, name in enumerate(opened.identifiers) if name.endswith("0017.jpg")]
    chosen = [shipped_source.model.SerializeToString(), int8_blob]
    evaluated = evaluate_shards(HERE, chosen[0], chosen[1], opened, shipped_source.preprocessing, size=8)
    left = [name for index, name in enumerate(opened.identifiers) if index != place]
    assert list(evaluated.images.identifiers) == left
    assert evaluated.pair.baseline.n == 99
    # A shard that is nothing but the broken image.
    _, broken = collect_shards(HERE, shipped_source.model, opened, shipped_source.preprocessing, tensors[:2], size=1)
    assert [image.identifier for image in broken] == [opened.identifiers[place]]


def test_two_broken_images_in_a_hundred_are_refused_wherever_they_lie(
    archive: Callable[..., Path], images: ImageSet, shipped_source: Source, tensors: tuple[str, ...]
) -> None:
    opened = open_images(archive(images, "set.zip", broken=[3, 91]))
    with pytest.raises(DataError, match=r"EK203 .*2 of 100 images are broken"):
        collect_shards(HERE, shipped_source.model, opened, shipped_source.preprocessing, tensors[:2], size=50)


@pytest.fixture(params=["folder", "zip", "tar", "npz"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, archive: Callable[..., Path], images: ImageSet) -> ImageSet:
    """The same images as a folder, a zip archive, tar shards and an array."""
    packed = archive(images, "set.zip")
    if request.param == "zip":
        return open_images(packed)
    if request.param == "folder":
        shutil.unpack_archive(packed, tmp_path / "set")
        return open_images(tmp_path / "set")
    if request.param == "tar":
        return open_images(in_tars(packed, tmp_path / "tars", 3))
    pixels = np.stack([np.asarray(images.read(index)) for index in range(len(images))])
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.array(images.labels))
    return open_images(tmp_path / "set.npz")


def test_a_shard_in_another_process_is_the_same_images(kind: ImageSet) -> None:
    shard = kind.select([5, 6, 40])
    arrived = pickle.loads(pickle.dumps(shard))
    assert arrived.sha256() == shard.sha256()
    assert (arrived.labels, arrived.class_names) == (shard.labels, shard.class_names)
    assert np.array_equal(np.asarray(arrived.read(2)), np.asarray(shard.read(2)))


def test_a_shard_brings_nothing_of_the_rest_along(kind: ImageSet) -> None:
    alone, with_others = (len(pickle.dumps(chosen.select([0]))) for chosen in (kind.select([0]), kind))
    assert alone == with_others


@pytest.mark.parametrize("name", ["set", "set.zip"])
def test_a_worker_without_the_images_says_so(
    name: str, tmp_path: Path, archive: Callable[..., Path], images: ImageSet
) -> None:
    packed = archive(images, "set.zip")
    shutil.unpack_archive(packed, tmp_path / "set")
    sent = pickle.dumps(open_images(tmp_path / name))
    packed.unlink()
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(DataError, match=f"EK201 .*{name}: a worker does not have this"):
        pickle.loads(sent)


def test_a_worker_with_other_versions_refuses_the_work() -> None:
    require_versions(versions())
    with pytest.raises(UsageError, match=r"EK022 .*the worker has onnxruntime .*, not 0\.1;"):
        require_versions({**versions(), "onnxruntime": "0.1"})


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"EK004 .*pip install 'edgekit\[ray\]'"), ray_workers():
        pass
