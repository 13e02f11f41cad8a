"""SHA-256 of files and folders, remembered: what has not changed since is not read again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.files import is_url, local_path, sha256_of

# A file that was changed a moment ago may change again without another time stamp: its hash is not remembered.
SETTLED_NS = 2_000_000_000
_Stamp = tuple[int, int, int, int]
_TABLE = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size, mtime, ctime, inode, sha256 TEXT)"


class Hashes:
    """Hashes by path; a file is read only when its size, times or inode are not those of the last time.

    Args:
        memory: SQLite file that remembers them from run to run; what cannot be read there is computed again.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, tuple[_Stamp, str]] = {}
        self._new: dict[str, tuple[_Stamp, str]] = {}
        self._read: set[str] = set()

    def of(self, path: Path | str) -> str:
        """Return the hash of a file, of a folder's content, or of the archive that `archive.zip/train` lies in.

        Of tar shards that a pattern names it is that of all of them; of a URL, what its storage says of the versions of
        the files there (`edgekit.data.fingerprint`).

        Raises:
            EdgekitError: EK011 when it is gone or cannot be read; of a URL EK004 and EK2xx.
        """
        if isinstance(path, str):
            local = local_path(path) if is_url(path) else Path(path)
            if local is None:
                from edgekit.data import fingerprint

                return fingerprint(path)
            path = local
        try:
            if not path.exists() and any(letter in str(path) for letter in "{*?["):
                from edgekit.data import shard_files

                shards = shard_files(path)
                if shards is not None:
                    return self._of_shards(shards, path)
            if path.is_dir():
                return self._of_folder(path)
            archive = next((part for part in (path, *path.parents) if part.is_file()), path)
            inside = path.relative_to(archive).as_posix()
            sha256 = self._of_file(archive)
        except OSError as error:
            raise UsageError(
                "EK011", f"cannot be read: {error.strerror or error}", where=str(path), hint="check the path"
            ) from error
        return sha256 if inside == "." else hashlib.sha256(f"{sha256} {inside}".encode()).hexdigest()

    def _of_shards(self, shards: tuple[Path, ...], pattern: Path) -> str:
        if not shards:
            raise FileNotFoundError(errno.ENOENT, "no file fits the pattern")
        beside = shards[0].parent / "classes.txt"
        files = (*shards, beside) if beside.is_file() else shards
        inside = str(pattern).rpartition(".tar")[2]
        return _digest([f"{self._of_file(file)}  {file.name}\n" for file in files] + [f"{inside}\n"])

    def of_sources(self, root: Path, leave_out: str) -> str:
        """Return the hash of the Python and shell files below a folder, without those of one folder in it."""
        return _digest(
            self._lines(root, lambda name: name.endswith((".py", ".sh")) and not name.startswith(f"{leave_out}/"))
        )

    def _of_folder(self, root: Path) -> str:
        lines = self._lines(root, lambda name: True)
        # The classes of a split folder may be named beside it.
        above = root.resolve().parent / "classes.txt"
        if above.is_file():
            lines.append(f"{self._of_file(above)}  ../classes.txt\n")
        return _digest(lines)

    def _lines(self, root: Path, wanted: Callable[[str], bool]) -> list[str]:
        self._recall(str(root.resolve()) + os.sep)
        return [f"{self._of_file(path)}  {name}\n" for name, path in sorted(_files(root)) if wanted(name)]

    def _of_file(self, path: Path) -> str:
        name = str(path.resolve())
        self._recall(name)
        status = path.stat()
        stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        known = self._new.get(name) or self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        sha256 = sha256_of(path)
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS:
            self._new[name] = stamp, sha256
        return sha256

    def _recall(self, prefix: str) -> None:
        """Read what is remembered of a file, or of all files of a folder whose path ends in a separator."""
        if prefix in self._read or any(prefix.startswith(known) for known in self._read if known.endswith(os.sep)):
            return
        self._read.add(prefix)
        with contextlib.suppress(sqlite3.Error), self._open() as database:
            rows = database.execute(
                "SELECT path, size, mtime, ctime, inode, sha256 FROM hashes WHERE path = ? OR path BETWEEN ? AND ?",
                (prefix, prefix, prefix + "\U0010ffff") if prefix.endswith(os.sep) else (prefix, "", ""),
            )
            for path, *stamp, sha256 in rows:
                size, mtime, ctime, inode = stamp
                self._known[path] = (size, mtime, ctime, inode), sha256

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self._memory.is_file():
            raise sqlite3.OperationalError("there is no memory yet")
        database = sqlite3.connect(self._memory)
        try:
            yield database
        finally:
            database.close()

    def save(self) -> None:
        """Remember what was computed; a memory that cannot be written, or is damaged, costs time and nothing else."""
        if not self._new:
            return
        rows: list[tuple[object, ...]] = [(path, *stamp, sha256) for path, (stamp, sha256) in self._new.items()]
        try:
            self._write(rows)
        except sqlite3.OperationalError:
            return
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError, sqlite3.Error):
                self._memory.unlink()
                self._write(rows)

    def _write(self, rows: list[tuple[object, ...]]) -> None:
        database = sqlite3.connect(self._memory)
        with contextlib.closing(database), database:
            database.execute(_TABLE)
            database.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._known |= self._new
        self._new = {}


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield each file that `edgekit.data` sees below a folder: links are followed, hidden names are not."""
    visited: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(root).as_posix(), path
