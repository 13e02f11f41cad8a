"""Files of bytes that can be read from any place in them, wherever they lie."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import BinaryIO, Protocol

from edgekit.errors import DataError

# A file that was changed a moment ago may change again without another time stamp.
_SETTLED_NS = 2_000_000_000


class Stored(Protocol):
    """A file whose length is known; several threads may read it, and it can be sent to another process."""

    def __hash__(self) -> int: ...

    @property
    def key(self) -> str:
        """Where it lies, in full."""
        ...

    @property
    def name(self) -> str:
        """Its own name, for messages."""
        ...

    @property
    def size(self) -> int:
        """Its length in bytes."""
        ...

    @property
    def mark(self) -> str | None:
        """What is another text when the content is another; None when nothing tells."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes from the middle, fewer where the file ends before; raises OSError, or DataError EK21x."""
        ...

    def stream(self) -> BinaryIO:
        """Open it to read little in many places, from the front to the back."""
        ...

    def require_same(self, where: str) -> None:
        """Raise DataError EK201 when this process sees another file, or none."""
        ...


@dataclasses.dataclass(frozen=True)
class LocalFile:
    """A file of this machine. Make one with `local_file`."""

    path: Path
    size: int
    mark: str | None

    @property
    def key(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.name

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes from the middle; the file is open no longer, for there may be thousands of shards."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def stream(self) -> BinaryIO:
        """Open it."""
        return self.path.open("rb")

    def require_same(self, where: str) -> None:
        """Raise DataError EK201 when no file of that size is there."""
        if not self.path.is_file() or self.path.stat().st_size != self.size:
            raise another_archive(where)


def local_file(path: Path) -> LocalFile:
    """Return a file of this machine as it is now; raises OSError."""
    path = path.resolve()
    status = path.stat()
    settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
    stamp = f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    return LocalFile(path, status.st_size, stamp if settled else None)


def another_archive(where: str) -> DataError:
    """Return the error of a worker that does not see what it was sent for."""
    hint = "put the same archive where every machine of the cluster finds it under the same path"
    return DataError("EK201", "a worker does not have this archive, or has another", where=where, hint=hint)
