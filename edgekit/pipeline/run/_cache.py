"""The results of stages by the hash of everything that they follow from, each whole or not there.

.edgekit/entries/KIND-KEY/entry.json, files     a finished result
.edgekit/work/KIND-KEY/result/                  one that is being made, or was when its process ended
.edgekit/hashes.sqlite                          hashes of files that have not changed
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.errors import UsageError
from edgekit.files import first_fault, read_at_most, refusing_write_errors, write_bytes, write_json
from edgekit.pipeline.run._claim import claiming
from edgekit.pipeline.run._hashes import Hashes

Kind = Literal["train", "prune", "recover", "export", "bundle", "engine", "validate", "gate", "measure"]
SCHEMA: Final = "edgekit.entry/"
VERSION: Final = 1
RECORD = "entry.json"
_LARGEST_RECORD = 16 << 20
_GITIGNORE = "# Made by edgekit run: what is here can be made again.\n*\n"


class Record(BaseModel):
    """What `entry.json` says.

    Attributes:
        kind: What was called.
        key: Hash of everything that the result follows from.
        edgekit: Version that made it.
        inputs: Hash of each input by name.
        files: Hash of each file of the result.
        same: Those of them whose bytes are the same when they are made again; the others hold times.
        facts: What the run says about it.
        notes: What was assumed and done.
        seconds: Time it took.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    kind: Kind
    key: str
    edgekit: str
    inputs: dict[str, str]
    files: dict[str, str]
    same: list[str]
    facts: dict[str, Any]
    notes: list[str]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Entry:
    """A finished result and the folder that it lies in."""

    folder: Path
    record: Record

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / name

    @property
    def same(self) -> dict[str, str]:
        """Hashes of the files whose bytes are the same when they are made again."""
        return {name: self.record.files[name] for name in self.record.same}


@dataclasses.dataclass(frozen=True)
class Listed:
    """An entry as `edgekit cache ls` shows it.

    Attributes:
        name: Name of its folder.
        size_bytes: Size of its files, in bytes.
        used: When a run last used it, in seconds since 1970.
        fault: What is wrong with it; empty when nothing is.
    """

    name: str
    size_bytes: int
    used: float
    fault: str


class Cache:
    """A folder of results.

    Args:
        root: The folder; it is made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hashes = Hashes(root / "hashes.sqlite")

    @contextlib.contextmanager
    def used(self, *, alone: bool = False) -> Iterator[Cache]:
        """Hold the cache, with other runs or alone.

        Raises:
            UsageError: EK003 when nothing can be written there, EK012 when somebody else is at work, EK013 when a
                newer version made it.
        """
        with claiming(self.root, shared=not alone):
            version = self.root / "version"
            if version.is_file():
                _require_version(version.read_text(encoding="utf-8", errors="replace").strip(), self.root)
            else:
                write_bytes(self.root / ".gitignore", _GITIGNORE.encode())
                write_bytes(version, f"{SCHEMA}{VERSION}\n".encode())
            try:
                yield self
            finally:
                self.hashes.save()

    def find(self, kind: Kind, key: str) -> Entry | None:
        """Return the result of that key; None when there is none.

        Raises:
            UsageError: EK013 when a newer version wrote it, EK014 when it is damaged.
        """
        folder = self._folder(kind, key)
        if not folder.is_dir():
            return None
        entry = self._read(folder)
        if (entry.record.kind, entry.record.key) != (kind, key):
            raise _damaged(folder, "it is the result of something else")
        with contextlib.suppress(OSError):
            os.utime(folder / RECORD)
        return entry

    @contextlib.contextmanager
    def making(self, kind: Kind, key: str) -> Iterator[Making]:
        """Hold the folder where a result is made; what an earlier process left in it is still there.

        Raises:
            UsageError: EK003 when it cannot be made, EK012 when another process is making the same.
        """
        work = self.root / "work" / self._name(kind, key)
        with claiming(work):
            making = Making(kind, key, work / "result", self._folder(kind, key))
            with refusing_write_errors(work):
                making.folder.mkdir(parents=True, exist_ok=True)
            yield making
            if not making.folder.exists():
                with contextlib.suppress(OSError):
                    shutil.rmtree(work)

    def remove(self, name: str) -> None:
        """Remove an entry, or what is left of one that was being made."""
        with refusing_write_errors(self.root):
            for folder in (self.root / "entries" / name, self.root / "work" / name):
                if folder.exists():
                    shutil.rmtree(folder)

    def list(self) -> tuple[Listed, ...]:
        """Return every entry and every unfinished one, the last used first."""
        found = [self._list(folder) for folder in _folders(self.root / "entries")]
        found += [
            Listed(folder.name, _size(folder), folder.stat().st_mtime, "unfinished")
            for folder in _folders(self.root / "work")
        ]
        return tuple(sorted(found, key=lambda entry: -entry.used))

    def _list(self, folder: Path) -> Listed:
        try:
            self._read(folder)
            fault = ""
        except UsageError as error:
            fault = f"{error.code} {error.what}"
        record = folder / RECORD
        return Listed(folder.name, _size(folder), (record if record.is_file() else folder).stat().st_mtime, fault)

    def _read(self, folder: Path) -> Entry:
        record = _record(folder)
        for name, sha256 in record.files.items():
            path = folder / name
            if not path.is_file():
                raise _damaged(folder, f"{name} is missing")
            if self.hashes.of(path) != sha256:
                raise _damaged(folder, f"{name} was changed")
        return Entry(folder, record)

    def _folder(self, kind: Kind, key: str) -> Path:
        return self.root / "entries" / self._name(kind, key)

    @staticmethod
    def _name(kind: Kind, key: str) -> str:
        return f"{kind}-{key[:16]}"


@dataclasses.dataclass(frozen=True)
class Making:
    """A result that is being made.

    Attributes:
        kind: What is called.
        key: Hash of everything that it follows from.
        folder: Where its files are written.
        place: Where it moves to when it is whole.
    """

    kind: Kind
    key: str
    folder: Path
    place: Path

    def clear(self) -> None:
        """Remove what an earlier process left."""
        with refusing_write_errors(self.folder):
            shutil.rmtree(self.folder)
            self.folder.mkdir()

    def finished(self, hashes: Hashes) -> Entry | None:
        """Return the result when an earlier process had it whole and ended before it could move it."""
        if not (self.folder / RECORD).is_file():
            return None
        try:
            record = _record(self.folder)
            whole = all(hashes.of(self.folder / name) == sha256 for name, sha256 in record.files.items())
        except UsageError:
            return None
        return self._move(record) if whole and record.key == self.key else None

    def finish(self, record: Record) -> Entry:
        """Move the result to its place, all of it or nothing."""
        with refusing_write_errors(self.place):
            for name in record.files:
                with (self.folder / name).open("rb") as stream:
                    os.fsync(stream.fileno())
        write_json(self.folder / RECORD, {"schema": f"{SCHEMA}{VERSION}", **record.model_dump()})
        return self._move(record)

    def _move(self, record: Record) -> Entry:
        with refusing_write_errors(self.place):
            for path in sorted(self.folder.rglob("*"), reverse=True):
                if path.is_file() and path.relative_to(self.folder).as_posix() not in {*record.files, RECORD}:
                    path.unlink()
                elif path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
            self.place.parent.mkdir(parents=True, exist_ok=True)
            if self.place.exists():
                # The record goes first: what is left of it when the process ends here is seen to be no entry.
                (self.place / RECORD).unlink(missing_ok=True)
                shutil.rmtree(self.place)
            self.folder.rename(self.place)
        return Entry(self.place, record)


def _record(folder: Path) -> Record:
    try:
        content = read_at_most(folder / RECORD, _LARGEST_RECORD)
        facts = json.loads(content or b"")
        _require_version(str(facts.pop("schema")), folder)
        return Record.model_validate(facts)
    except ValidationError as error:
        raise _damaged(folder, first_fault(error)) from error
    except OSError as error:
        raise _damaged(folder, f"{RECORD} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, f"{RECORD} is no record of a result") from error


def _damaged(folder: Path, what: str) -> UsageError:
    return UsageError("EK014", what, where=str(folder), hint="it is made again by the next run that needs it")


def _require_version(schema: str, where: Path) -> None:
    """Raise UsageError EK013 for a newer version; anything else that is not this one is no version at all."""
    number = schema.removeprefix(SCHEMA)
    if number.isdecimal() and int(number) > VERSION:
        raise UsageError(
            "EK013",
            f"the cache is of version {number}, this edgekit reads {VERSION}",
            where=str(where),
            hint="upgrade edgekit, or name another folder with [run] cache",
        )


def _folders(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.is_dir()) if folder.is_dir() else iter(())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
