"""Hashes that are remembered are those of the content there is now."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import fsspec
import pytest

from edgekit.data import fingerprint
from edgekit.errors import UsageError
from edgekit.pipeline.run import _hashes
from edgekit.pipeline.run._hashes import Hashes


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, as they are."""
    names: list[str] = []

    def reading(path: Path) -> str:
        names.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(_hashes, "sha256_of", reading)
    return names


def aged(path: Path, content: bytes) -> Path:
    """Write a file that was last changed an hour ago, as far as its own time tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    hour_ago = time.time_ns() - 3_600_000_000_000
    os.utime(path, ns=(hour_ago, hour_ago))
    return path


def test_a_file_that_has_not_changed_is_read_once_by_all_processes(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = aged(tmp_path / "a", b"content")
    monkeypatch.setattr(_hashes, "SETTLED_NS", 0)
    first = Hashes(tmp_path / "memory")
    assert first.of(path) == first.of(path) == hashlib.sha256(b"content").hexdigest()
    first.save()
    assert Hashes(tmp_path / "memory").of(path) == hashlib.sha256(b"content").hexdigest()
    assert reads == ["a"]


def test_a_file_that_changed_a_moment_ago_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    hashes = Hashes(tmp_path / "memory")
    hashes.of(path)
    hashes.of(path)
    assert reads == ["a", "a"]


def test_a_change_of_the_same_length_with_the_old_time_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hashes, "SETTLED_NS", 0)
    path = aged(tmp_path / "a", b"content")
    times = path.stat()
    hashes = Hashes(tmp_path / "memory")
    before = hashes.of(path)
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hashes.of(path) != before


def test_the_hash_of_a_folder_follows_names_and_contents_of_what_is_not_hidden(tmp_path: Path) -> None:
    root, hashes = tmp_path / "set", Hashes(tmp_path / "memory")
    aged(root / "cat" / "1.jpg", b"one")
    aged(root / "dog" / "2.jpg", b"two")
    before = hashes.of(root)
    aged(root / ".cache" / "x", b"hidden")
    aged(root / "cat" / ".x", b"hidden")
    assert hashes.of(root) == before
    (root / "cat" / "1.jpg").rename(root / "dog" / "1.jpg")
    moved = hashes.of(root)
    assert moved != before
    aged(root / "dog" / "1.jpg", b"One")
    assert hashes.of(root) not in (before, moved)


def test_classes_named_beside_a_folder_belong_to_it(tmp_path: Path) -> None:
    hashes = Hashes(tmp_path / "memory")
    aged(tmp_path / "set" / "val" / "a.jpg", b"one")
    before = hashes.of(tmp_path / "set" / "val")
    aged(tmp_path / "set" / "classes.txt", b"cat\n")
    assert hashes.of(tmp_path / "set" / "val") != before


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    hashes = Hashes(tmp_path / "memory")
    aged(tmp_path / "real" / "a.jpg", b"one")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").symlink_to(tmp_path / "real" / "a.jpg")
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    before = hashes.of(tmp_path / "set")
    aged(tmp_path / "real" / "a.jpg", b"two")
    assert hashes.of(tmp_path / "set") != before


def test_a_folder_inside_an_archive_has_a_hash_of_its_own(tmp_path: Path) -> None:
    hashes = Hashes(tmp_path / "memory")
    archive = aged(tmp_path / "set.zip", b"an archive")
    assert len({hashes.of(archive), hashes.of(archive / "train"), hashes.of(archive / "val")}) == 3


def test_what_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"EK011 .*gone: cannot be read: No such file"):
        Hashes(tmp_path / "memory").of(tmp_path / "gone")


def test_a_damaged_memory_costs_time_and_nothing_else(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_hashes, "SETTLED_NS", 0)
    path = aged(tmp_path / "a", b"content")
    (tmp_path / "memory").write_bytes(b"this is no database, and long enough to be seen to be none" * 100)
    for _ in range(2):
        hashes = Hashes(tmp_path / "memory")
        assert hashes.of(path) == hashlib.sha256(b"content").hexdigest()
        hashes.save()
    Hashes(tmp_path / "memory").of(path)
    assert reads == ["a"], "the memory was made anew and is used again"


def test_a_memory_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    path = aged(tmp_path / "a", b"content")
    hashes = Hashes(tmp_path / "no" / "such" / "folder" / "memory")
    hashes.of(path)
    hashes.save()


def test_shards_that_a_pattern_names_are_all_hashed(tmp_path: Path) -> None:
    for number in range(3):
        aged(tmp_path / f"part-{number}.tar", str(number).encode())
    hashes = Hashes(tmp_path / "memory")
    two, three = hashes.of(tmp_path / "part-{0..1}.tar"), hashes.of(tmp_path / "part-*.tar")
    assert hashes.of(f"file://{tmp_path}/part-{{0..1}}.tar") == two
    assert len({two, three, hashes.of(tmp_path / "part-{0..1}.tar" / "train")}) == 3
    aged(tmp_path / "classes.txt", b"cat")
    named = hashes.of(tmp_path / "part-{0..1}.tar")
    aged(tmp_path / "part-1.tar", b"other")
    assert len({two, named, Hashes(tmp_path / "memory").of(tmp_path / "part-{0..1}.tar")}) == 3
    with pytest.raises(UsageError, match=r"EK011 .*no file fits the pattern"):
        hashes.of(tmp_path / "other-*.tar")


def test_the_hash_of_a_url_is_what_its_storage_says(tmp_path: Path) -> None:
    with fsspec.open("memory://hashes/set.tar", "wb") as file:
        file.write(b"not even looked at")
    assert Hashes(tmp_path / "memory").of("memory://hashes/set.tar") == fingerprint("memory://hashes/set.tar")
