"""Work by shards comes to the same bytes as work on the whole, and shards travel light."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.calibrate import Summary, collect, save
from edgekit.data import ImageSet, batches, open_images, sample
from edgekit.errors import DataError, UsageError
from edgekit.pipeline.cluster import HERE, collect_shards, evaluate_shards, ray_workers, shards
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


@pytest.fixture(params=["folder", "zip", "npz"])
def kind(request: pytest.FixtureRequest, tmp_path: Path, archive: Callable[..., Path], images: ImageSet) -> ImageSet:
    """The same images as a folder, a zip archive and an array."""
    packed = archive(images, "set.zip")
    if request.param == "zip":
        return open_images(packed)
    if request.param == "folder":
        shutil.unpack_archive(packed, tmp_path / "set")
        return open_images(tmp_path / "set")
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
