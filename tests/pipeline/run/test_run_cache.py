"""The cache: a result is there whole or not at all, and what is damaged is never used."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.files import sha256_of
from edgekit.pipeline.run._cache import RECORD, Cache, Entry, Making, Record
from edgekit.pipeline.run._claim import claiming

KEY = "ab" * 32


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache").used() as opened:
        yield opened


def record(folder: Path, *names: str, key: str = KEY) -> Record:
    files = {name: sha256_of(folder / name) for name in names}
    return Record(
        kind="train", key=key, edgekit="0", inputs={}, files=files, same=list(names), facts={}, notes=[], seconds=0.0
    )


def fill(making: Making, content: bytes = b"result") -> Record:
    (making.folder / "bundle").mkdir(exist_ok=True)
    (making.folder / "model").write_bytes(content)
    (making.folder / "bundle" / "a").write_bytes(b"a")
    (making.folder / "training.pt").write_bytes(b"state")
    return record(making.folder, "model", "bundle/a")


def store(cache: Cache, content: bytes = b"result") -> Entry:
    with cache.making("train", KEY) as making:
        return making.finish(fill(making, content))


def test_a_result_is_found_again_with_its_files_and_no_others(cache: Cache) -> None:
    assert cache.find("train", KEY) is None
    store(cache)
    found = cache.find("train", KEY)
    assert found is not None
    assert found.file("model").read_bytes() == b"result"
    assert sorted(path.name for path in found.folder.rglob("*")) == ["a", "bundle", RECORD, "model"]
    assert list((cache.root / "work").iterdir()) == []


def test_what_an_interrupted_process_left_is_there_when_the_same_is_made_again(cache: Cache) -> None:
    with contextlib.suppress(InterruptedError), cache.making("train", KEY) as making:
        fill(making)
        raise InterruptedError
    assert cache.find("train", KEY) is None
    with cache.making("train", KEY) as making:
        assert making.finished(cache.hashes) is None
        assert (making.folder / "training.pt").read_bytes() == b"state"
        making.clear()
        assert list(making.folder.iterdir()) == []


def test_a_result_that_was_whole_when_its_process_ended_is_moved_by_the_next(cache: Cache) -> None:
    with contextlib.suppress(InterruptedError), cache.making("train", KEY) as making:
        made = fill(making)
        (making.folder / RECORD).write_text(json.dumps({"schema": "edgekit.entry/1", **made.model_dump()}))
        raise InterruptedError
    with cache.making("train", KEY) as making:
        moved = making.finished(cache.hashes)
    assert moved is not None
    assert cache.find("train", KEY) == moved


def test_a_result_that_is_made_again_takes_the_place_of_the_first(cache: Cache) -> None:
    store(cache)
    store(cache, b"another")
    found = cache.find("train", KEY)
    assert found is not None
    assert found.file("model").read_bytes() == b"another"


def damage_a_file(folder: Path) -> None:
    (folder / "model").write_bytes(b"Result")


def remove_a_file(folder: Path) -> None:
    (folder / "bundle" / "a").unlink()


def cut_the_record(folder: Path) -> None:
    (folder / RECORD).write_text((folder / RECORD).read_text()[:-20])


def remove_the_record(folder: Path) -> None:
    (folder / RECORD).unlink()


def change_the_record(folder: Path) -> None:
    content = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**content, "seconds": "long"}))


def give_it_another_key(folder: Path) -> None:
    content = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**content, "key": "cd" * 32}))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (damage_a_file, "model was changed"),
        (remove_a_file, "bundle/a is missing"),
        (cut_the_record, "entry.json is no record of a result"),
        (remove_the_record, "entry.json cannot be read: No such file or directory"),
        (change_the_record, "seconds: Input should be a valid number"),
        (give_it_another_key, "it is the result of something else"),
    ],
)
def test_a_damaged_result_is_named_and_never_used(cache: Cache, damage: object, what: str) -> None:
    folder = store(cache).folder
    assert callable(damage)
    damage(folder)
    with pytest.raises(UsageError, match=rf"^EK014 .*{folder.name}: {what}; it is made again"):
        cache.find("train", KEY)


def test_a_result_or_a_cache_of_a_newer_version_is_refused(cache: Cache, tmp_path: Path) -> None:
    folder = store(cache).folder
    content = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**content, "schema": "edgekit.entry/2", "new": 1}))
    with pytest.raises(UsageError, match=r"EK013 .*version 2, this edgekit reads 1; upgrade edgekit"):
        cache.find("train", KEY)
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "version").write_text("edgekit.entry/7\n")
    with pytest.raises(UsageError, match=r"EK013 .*newer: the cache is of version 7"), Cache(tmp_path / "newer").used():
        pass


def test_the_cache_is_kept_out_of_git(cache: Cache) -> None:
    assert (cache.root / ".gitignore").read_text().splitlines()[-1] == "*"


def test_a_list_tells_sizes_faults_and_what_is_unfinished(cache: Cache) -> None:
    entry = store(cache)
    with contextlib.suppress(InterruptedError), cache.making("recover", KEY) as making:
        (making.folder / "training.pt").write_bytes(b"state")
        raise InterruptedError
    faults = {listed.name: (listed.size_bytes > 0, listed.fault) for listed in cache.list()}
    assert faults == {f"train-{KEY[:16]}": (True, ""), f"recover-{KEY[:16]}": (True, "unfinished")}
    damage_a_file(entry.folder)
    assert [listed.fault for listed in cache.list() if listed.fault != "unfinished"] == ["EK014 model was changed"]
    for listed in cache.list():
        cache.remove(listed.name)
    assert cache.list() == ()


def test_one_process_at_a_time_holds_a_folder(tmp_path: Path) -> None:
    refused = pytest.raises(UsageError, match=rf"EK012 .*process {os.getpid()} is at work")
    with claiming(tmp_path), refused, claiming(tmp_path):
        pass
    with claiming(tmp_path):
        pass


def test_several_may_use_a_cache_while_nobody_wants_it_alone(tmp_path: Path) -> None:
    others = Cache(tmp_path), Cache(tmp_path)
    with others[0].used(), others[1].used(), pytest.raises(UsageError, match="EK012"), Cache(tmp_path).used(alone=True):
        pass
    with Cache(tmp_path).used(alone=True), pytest.raises(UsageError, match="EK012"), Cache(tmp_path).used():
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from edgekit.pipeline.run._claim import claiming
with claiming(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"EK012 .*process {holder.pid} is at work"), claiming(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with claiming(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="EK003"), claiming(tmp_path / "new"):
        pass


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="EK003"), claiming(tmp_path / "file"):
        pass
