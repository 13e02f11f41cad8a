from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.data import open_images, sample
from edgekit.errors import DataError
from edgekit.models import load
from edgekit.shipped import shipped

MEGABYTE = 1_000_000


def test_the_sample_lies_in_the_checkout(repository: Path) -> None:
    assert shipped("calibration") == repository / "calibration"


def test_an_installed_package_finds_its_own_copy_and_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "edgekit"
    package.mkdir(parents=True)
    monkeypatch.setattr("edgekit.shipped._PACKAGE", package)
    (package.parent / "calibration").mkdir()  # of another package
    with pytest.raises(DataError) as caught:
        shipped("calibration")
    assert caught.value.code == "EK209"
    (package / "_shipped" / "calibration").mkdir(parents=True)
    assert shipped("calibration") == package / "_shipped" / "calibration"


def test_the_sample_is_balanced_and_small(repository: Path) -> None:
    shipped_sample = sample()
    assert len(shipped_sample.calibration) == 512
    assert len(shipped_sample.evaluation) == 1000
    calibration, evaluation = shipped_sample.calibration.labels, shipped_sample.evaluation.labels
    assert calibration is not None
    assert evaluation is not None
    assert [calibration.count(index) for index in range(10)] == [52, 52, *([51] * 8)]
    assert [evaluation.count(index) for index in range(10)] == [100] * 10
    assert sum(file.stat().st_size for file in (repository / "calibration").iterdir()) <= 3 * MEGABYTE


def test_the_manifest_says_what_is_in_the_archives() -> None:
    shipped_sample = sample()
    assert shipped_sample.class_names[:2] == ("airplane", "automobile")
    assert shipped_sample.preprocessing == load(None).preprocessing
    for name in ("calibration", "evaluation"):
        images = getattr(shipped_sample, name)
        entry = shipped_sample.manifest["sets"][name]
        digests = {
            identifier: hashlib.sha256(images.encoded(index)).hexdigest()
            for index, identifier in enumerate(images.identifiers)
        }
        assert entry["sha256_of_image"] == digests
        assert sum(entry["count_of_class"].values()) == entry["count"] == len(images)
        assert images.class_names == shipped_sample.class_names


def test_every_image_of_the_sample_is_32_by_32() -> None:
    shipped_sample = sample()
    for images in (shipped_sample.calibration, shipped_sample.evaluation):
        assert {images.read(index).size for index in range(len(images))} == {(32, 32)}


def test_no_image_calibrates_and_measures() -> None:
    shipped_sample = sample()
    assert len(shipped_sample.evaluation.without(shipped_sample.calibration)) == 1000


def test_each_archive_is_a_data_set_of_its_own(repository: Path) -> None:
    images = open_images(repository / "calibration" / "cifar10_evaluation.zip")
    assert images.class_names == sample().class_names
    assert images.labels == sample().evaluation.labels


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository / "calibration", tmp_path / "calibration"))


def assert_damaged(folder: Path, where: str) -> None:
    with pytest.raises(DataError) as caught:
        sample(folder)
    assert caught.value.code == "EK209"
    assert caught.value.where == str(folder / where)


def test_an_intact_copy_opens(copy: Path) -> None:
    assert sample(copy).evaluation.sha256() == sample().evaluation.sha256()


@pytest.mark.parametrize("file", ["cifar10_calibration.zip", "cifar10_evaluation.zip"])
def test_a_changed_archive_is_ek209(copy: Path, file: str) -> None:
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    assert_damaged(copy, file)


@pytest.mark.parametrize("file", ["cifar10_calibration.zip", "manifest.json"])
def test_a_missing_file_is_ek209(copy: Path, file: str) -> None:
    (copy / file).unlink()
    assert_damaged(copy, file)


@pytest.mark.parametrize("drop", ["class_names", "preprocessing", "sets"])
def test_an_incomplete_manifest_is_ek209(copy: Path, drop: str) -> None:
    place = copy / "manifest.json"
    manifest = json.loads(place.read_text())
    del manifest[drop]
    place.write_text(json.dumps(manifest))
    assert_damaged(copy, "manifest.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"class_names": [], "sets": 3}'])
def test_a_manifest_of_another_form_is_ek209(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    assert_damaged(copy, "manifest.json")


@pytest.mark.shared_data
def test_the_tool_makes_exactly_the_files_that_ship(repository: Path, shared_data: Path, tmp_path: Path) -> None:
    tool = repository / "tools" / "make_sample.py"
    command = [sys.executable, str(tool), str(shared_data / "cifar10.zip"), "--output", str(tmp_path)]
    environment = {"PYTHONPATH": str(repository)}
    subprocess.run(command, check=True, env=environment)
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(made) == [
        "cifar10_calibration.zip",
        "cifar10_evaluation.zip",
        "classes.txt",
        "manifest.json",
    ]
    assert made == {name: (repository / "calibration" / name).read_bytes() for name in made}


@pytest.mark.shared_data
def test_the_images_are_those_of_the_archive(shared_data: Path) -> None:
    train = open_images(shared_data / "cifar10.zip" / "train")
    calibration = sample().calibration
    assert len(calibration.without(train)) == 0
    places = [train.identifiers.index(name) for name in calibration.identifiers]
    assert all(train.encoded(place) == calibration.encoded(i) for i, place in enumerate(places))
