"""Tar archives and shards: the same images as in a folder, read by their places."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import image_files, png, write_folder, write_tar, write_zip

from edgekit.data import ImageSet, drop_indexes, kept_indexes, open_images
from edgekit.errors import DataError

TREE = {**image_files([f"{name}/{number}.png" for name in ("cat", "dog") for number in range(6)])}
SAMPLES = image_files([f"{number:06}.png" for number in range(6)])
CLS = {f"{number:06}.cls": str(number % 3).encode() for number in range(6)}


def in_shards(folder: Path, files: Mapping[str, bytes], count: int) -> Path:
    """Deal files out to tar shards, one after another."""
    folder.mkdir(parents=True)
    names = list(files)
    for number in range(count):
        write_tar(folder / f"part-{number:03}.tar", {name: files[name] for name in names[number::count]})
    return folder


def facts(images: ImageSet) -> tuple[object, ...]:
    return images.identifiers, images.labels, images.class_names, images.sha256()


def old(path: Path) -> Path:
    """Make a file look as if it had not changed for long."""
    for file in path.rglob("*.tar") if path.is_dir() else [path]:
        os.utime(file, (1_000_000_000, 1_000_000_000))
    return path


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written just now count as old: their change time cannot be set."""
    monkeypatch.setattr("edgekit.data._stored._SETTLED_NS", -1 << 62)


def test_the_container_makes_no_difference(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", TREE)
    shards = in_shards(tmp_path / "shards", TREE, 2)
    here = facts(open_images(folder))
    for location in (
        write_zip(tmp_path / "set.zip", TREE),
        write_tar(tmp_path / "set.tar", TREE),
        shards,
        f"{shards}/part-{{000..001}}.tar",
        f"{shards}/part-*.tar",
        shards / "part-00[01].tar",
        f"file://{folder}",
        f"file://{tmp_path}/set.zip",
        f"file://{shards}/part-{{000,001}}.tar",
    ):
        assert facts(open_images(location)) == here, location


@given(st.data())
def test_any_files_in_any_shards_are_the_set_that_they_are_in_a_folder(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    stem = st.text("abé._- 0", min_size=1, max_size=8).filter(lambda text: text.strip(".") == text)
    folder = st.sampled_from(["", "one/", "two/", "two/deep/", "x" * 120 + "/"])
    name = st.builds(lambda place, stem: f"{place}{stem}.png", folder, stem)
    names = data.draw(st.lists(name, min_size=1, max_size=12, unique=True))
    contents = {name: data.draw(st.binary(max_size=1500)) for name in names}
    shards = data.draw(st.lists(st.sampled_from(range(4)), min_size=len(names), max_size=len(names)))
    root = tmp_path_factory.mktemp("property")
    plain = write_folder(root / "plain", contents)
    (root / "shards").mkdir()
    for number in set(shards):
        chosen = {name: contents[name] for name, shard in zip(names, shards, strict=True) if shard == number}
        write_tar(root / "shards" / f"{number}.tar", chosen)
    try:
        expected: object = facts(open_images(plain))
    except DataError as error:
        expected = error.code
    try:
        found: object = facts(open_images(root / "shards"))
    except DataError as error:
        found = error.code
    assert found == expected
    shutil.rmtree(root)


def test_a_folder_inside_the_shards_can_be_named(tmp_path: Path) -> None:
    files = {f"{split}/{name}": content for split in ("train", "val") for name, content in TREE.items()}
    shards = in_shards(tmp_path / "shards", files, 3)
    assert open_images(f"{shards}/part-{{000..002}}.tar/train").identifiers == tuple(TREE)
    assert open_images(write_tar(tmp_path / "one.tar", files) / "train" / "cat").identifiers == tuple(
        name.removeprefix("cat/") for name in TREE if name.startswith("cat")
    )


def test_of_several_folders_of_shards_the_split_for_evaluation_is_taken(tmp_path: Path) -> None:
    in_shards(tmp_path / "set" / "train", image_files(["a/1.png", "b/1.png"]), 1)
    in_shards(tmp_path / "set" / "val", image_files(["a/2.png", "b/2.png"]), 2)
    assert open_images(tmp_path / "set").identifiers == ("a/2.png", "b/2.png")


def test_cls_files_are_labels_in_every_container(tmp_path: Path) -> None:
    files = {**SAMPLES, **CLS}
    expected = (0, 1, 2, 0, 1, 2)
    for location in (
        write_folder(tmp_path / "set", files),
        write_zip(tmp_path / "set.zip", files),
        write_tar(tmp_path / "set.tar", files),
        in_shards(tmp_path / "shards", files, 3),
    ):
        assert open_images(location).labels == expected
        assert open_images(location).class_names is None
        assert open_images(location, class_names=("x", "y", "z")).class_names == ("x", "y", "z")


def test_the_label_of_a_json_file_may_be_a_number_or_a_name(tmp_path: Path) -> None:
    numbers = {name.replace(".png", ".json"): b'{"label": 1, "width": 12}' for name in SAMPLES}
    assert open_images(write_tar(tmp_path / "numbers.tar", {**SAMPLES, **numbers})).labels == (1,) * 6
    words = {
        name.replace(".png", ".json"): json.dumps({"label": word}).encode()
        for name, word in zip(SAMPLES, ["dog", "cat"] * 3, strict=True)
    }
    images = open_images(write_tar(tmp_path / "words.tar", {**SAMPLES, **words}))
    assert (images.labels, images.class_names) == ((1, 0) * 3, ("cat", "dog"))
    other = {name.replace(".png", ".json"): b'{"caption": "a cat"}' for name in SAMPLES}
    assert open_images(write_tar(tmp_path / "other.tar", {**SAMPLES, **other})).labels is None


def test_cls_files_come_before_folders_and_json_after(tmp_path: Path) -> None:
    tree = image_files(["a/1.png", "b/2.png"])
    assert open_images(write_tar(tmp_path / "1.tar", {**tree, "a/1.cls": b"7", "b/2.cls": b"3\n"})).labels == (7, 3)
    json_files = {"a/1.json": b'{"label": 7}', "b/2.json": b'{"label": 3}'}
    assert open_images(write_tar(tmp_path / "2.tar", {**tree, **json_files})).labels == (0, 1)


def test_the_key_of_a_sample_ends_at_the_first_dot(tmp_path: Path) -> None:
    files = {"a.left.png": png(1), "a.right.png": png(2), "a.cls": b"4", "b.left.png": png(3), "b.cls": b"5"}
    assert open_images(write_tar(tmp_path / "set.tar", files)).labels == (4, 4, 5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"000003.cls": b"three"}, "000003.cls holds no class index"),
        ({"000003.cls": b"-1"}, "000003.cls holds no class index"),
        ({"000003.cls": bytes(2 << 20)}, "000003.cls cannot be read"),
        ({"000009.png": png(9)}, "1 of 7 images have no label, 000009.png first"),
        ({"classes.txt": b"cat\ndog\n"}, "label 2 is beyond the 2 lines of classes.txt"),
    ],
)
def test_labels_that_are_none_are_ek207(tmp_path: Path, change: dict[str, bytes], reason: str) -> None:
    path = write_tar(tmp_path / "set.tar", {**SAMPLES, **CLS, **change})
    with pytest.raises(DataError, match=f"EK207 .*{reason}"):
        open_images(path)


def test_json_labels_of_two_kinds_are_ek207(tmp_path: Path) -> None:
    files = {**image_files(["1.png", "2.png"]), "1.json": b'{"label": 1}', "2.json": b'{"label": "cat"}'}
    with pytest.raises(DataError, match=r"EK207 .*some labels are numbers and others are names"):
        open_images(write_tar(tmp_path / "set.tar", files))
    files["2.json"] = b'{"label": -1}'
    with pytest.raises(DataError, match=r"EK207 .*-1 is no class index"):
        open_images(write_tar(tmp_path / "set.tar", files))


def test_classes_txt_beside_shards_names_the_classes(tmp_path: Path) -> None:
    shards = in_shards(tmp_path / "shards", {**SAMPLES, **CLS}, 2)
    (shards / "classes.txt").write_text("n1 tench\nn2 eel\nn3 kite\n")
    for location in (shards, f"{shards}/part-{{000..001}}.tar"):
        images = open_images(location)
        assert (images.labels, images.class_names) == ((0, 1, 2) * 2, ("tench", "eel", "kite"))
        assert open_images(location, class_names=("kite", "tench", "eel")).labels == (1, 2, 0) * 2


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("part-{000..002}.tar", "the shard does not exist"),
        ("part-{2..1}.tar", "does not count upwards"),
        ("part-{0..99999999999}.tar", "more than 100,000 files"),
        ("part-{0..999}-{0..999}.tar", "more than 100,000 files"),
        ("part-{000.tar", "braces do not match"),
        ("part-{{0..1}}.tar", "braces do not match"),
        ("part-{000}.tar", "is no range and no list"),
        ("other-*.tar", "no file fits the pattern"),
        ("part-*", "no file|not a data set|no such file"),
    ],
)
def test_a_pattern_that_names_no_shards_is_ek201(tmp_path: Path, pattern: str, reason: str) -> None:
    shards = in_shards(tmp_path / "shards", TREE, 2)
    (shards / "part-notes.txt").touch()
    with pytest.raises(DataError, match=f"EK201 .*({reason})"):
        open_images(f"{shards}/{pattern}")


@pytest.mark.usefixtures("settled")
def test_an_index_is_read_once_and_again_when_the_shard_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old(write_tar(tmp_path / "set.tar", {**SAMPLES, **CLS}))
    first = facts(open_images(path))
    (kept,) = kept_indexes()
    assert kept.key == str(path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr("edgekit.data._tar_shards.read_index", refuse)
        assert facts(open_images(path)) == first
    write_tar(path, {**image_files(["x.png"]), "x.cls": b"1"})
    assert open_images(path).identifiers == ("x.png",)


def test_a_shard_that_changed_a_moment_ago_is_read_again(tmp_path: Path) -> None:
    open_images(write_tar(tmp_path / "set.tar", SAMPLES))
    assert kept_indexes() == ()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 5000,
        lambda text: text.replace('"offsets":[', '"offsets":[-4,'),
        lambda text: text.replace('"names":[', '"names":[3,'),
        lambda text: text.replace("edgekit.shard/1", "edgekit.shard/2"),
        lambda text: text.replace('"sizes":[', '"sizes":[99999999999999,'),
    ],
)
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: object) -> None:
    path = write_tar(tmp_path / "set.tar", SAMPLES)
    first = facts(open_images(path))
    (kept,) = kept_indexes()
    assert callable(damage)
    kept.path.write_text(damage(kept.path.read_text()))
    assert facts(open_images(path)) == first
    (again,) = kept_indexes()
    assert again.key == str(path)


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(open_images(write_tar(tmp_path / "set.tar", SAMPLES))) == 6


@pytest.mark.usefixtures("settled")
def test_indexes_that_nobody_used_for_long_are_dropped(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        open_images(write_tar(tmp_path / name, SAMPLES))
    stale = next(kept for kept in kept_indexes() if kept.key.endswith("a.tar"))
    os.utime(stale.path, (1, 1))
    assert [kept.key for kept in drop_indexes(30, dry_run=True)] == [str(tmp_path / "a.tar")]
    assert [kept.key for kept in drop_indexes(30)] == [str(tmp_path / "a.tar")]
    assert [kept.key for kept in kept_indexes()] == [str(tmp_path / "b.tar")]


def test_a_part_in_another_process_brings_its_own_places_alone(tmp_path: Path) -> None:
    images = open_images(in_shards(tmp_path / "shards", TREE, 3))
    part = images.select([0, 3])  # both in the first shard
    sent = pickle.dumps(part)
    (tmp_path / "shards" / "part-001.tar").unlink()
    arrived = pickle.loads(sent)
    assert arrived.sha256() == part.sha256()
    assert arrived.archives() == (0, 0)
    assert len(sent) < len(pickle.dumps(images))
    (tmp_path / "shards" / "part-000.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"EK201 .*a worker does not have this archive"):
        _arrive(sent)


def _arrive(sent: bytes) -> None:
    from edgekit.data import _tar_shards

    _tar_shards._require_same.cache_clear()  # as in a process of its own
    pickle.loads(sent)


def test_archives_tells_which_shard_an_image_lies_in(tmp_path: Path) -> None:
    images = open_images(in_shards(tmp_path / "shards", TREE, 3))
    assert images.archives() == (0, 1, 2) * 4
    assert open_images(write_folder(tmp_path / "set", TREE)).archives() == (0,) * 12
