"""Writing files whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.files import check_folder, sha256_of, write_bytes, write_json, writing


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "model.onnx"
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_what_is_being_written_has_the_suffix_of_the_file(tmp_path: Path) -> None:
    with writing(tmp_path / "model.onnx") as temporary:
        assert temporary.suffix == ".onnx"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"new")
        assert not (tmp_path / "model.onnx").exists()
    assert (tmp_path / "model.onnx").read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_an_error_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def write() -> None:
        with writing(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_is_told() -> None:
    """A limit on the size of files is how a process meets a full disk without filling one."""
    script = """
import resource, sys, tempfile
from pathlib import Path
from edgekit.errors import UsageError
from edgekit.files import write_bytes

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "state")
    write_bytes(path, b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write_bytes(path, bytes(100_000))
    except UsageError as error:
        print(error.code, path.read_bytes(), [file.name for file in path.parent.iterdir()])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "EK003 b'old' ['state']"


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(UsageError, match=r"EK003 .*taken"):
        write_bytes(tmp_path / "taken" / "model.onnx", b"")
    with pytest.raises(UsageError, match=r"EK003 .*taken"):
        check_folder(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(UsageError, match="EK003"):
        write_bytes(tmp_path / "model.onnx", b"")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_a_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="EK003"):
        write_bytes(pipe, b"content")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write in any folder")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="EK003"):
            check_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "plain", b"")
        with writing(tmp_path / "replaced") as temporary:
            # As a library does that writes a private file of its own and renames it.
            private = temporary.with_suffix(".private")
            private.touch(0o600)
            private.replace(temporary)
    finally:
        assert os.umask(before) == umask
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "replaced")] == [mode, mode]


def test_check_folder_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(json_values)
def test_json_is_read_back_as_written(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    content = path.read_text(encoding="utf-8")
    assert json.loads(content) == value
    assert content.endswith("\n")


def test_json_that_others_cannot_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "report.json", {"sqnr": float("inf")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 20) + 1])
def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path, length: int) -> None:
    content = bytes(number % 251 for number in range(length))
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()
