"""Reading zip archives that strangers made: in place, one member at a time, nothing ever unpacked by name."""

from __future__ import annotations

import functools
import stat
import threading
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from edgekit.data._stored import Stored, another_archive
from edgekit.errors import DataError

# Deflate reaches 1000:1 on zeros. A large member beyond this ratio is a decompression bomb, not an image.
_MAX_RATIO = 100
_RATIO_MATTERS_ABOVE = 8 << 20
# No image file is larger; an array may be, it is read row by row.
MAX_FILE_BYTES = 256 << 20

_ENCRYPTED = 0x1


class MemberError(Exception):
    """A member of an archive that cannot be read."""


class Archive:
    """An open zip archive that several threads may read; it stays open as long as this object lives.

    Args:
        file: The archive, a path or a file that lies elsewhere.
        where: The data set as the user named it, for messages.

    Raises:
        DataError: EK201 when it is no zip archive; EK205 when reading it is unsafe; EK210 or EK211 when it lies
            elsewhere and does not come.
    """

    def __init__(self, file: Path | Stored, *, where: str) -> None:
        try:
            self._zip = zipfile.ZipFile(file if isinstance(file, Path) else file.stream())
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, OSError) as error:
            raise DataError(
                "EK201",
                f"not a readable zip archive ({error})",
                where=where,
                hint="copy or download it again",
            ) from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            _check(member, where)
            if not member.is_dir():
                self._members[member.filename.replace("\\", "/").removeprefix("./")] = member
        self._lock = threading.Lock()
        self._file, self._where = file.absolute() if isinstance(file, Path) else file, where

    def __reduce__(self) -> tuple[object, ...]:
        size = self._file.stat().st_size if isinstance(self._file, Path) else self._file.size
        return (_opened_again, (self._file, self._where, size))

    def names(self) -> tuple[str, ...]:
        """Return the path of every file, separated by `/`, in the order of the archive."""
        return tuple(self._members)

    def member(self, name: str) -> zipfile.ZipInfo:
        """Return the directory entry of a file."""
        return self._members[name]

    def size(self, name: str) -> int:
        """Return the length of a file in bytes, as the archive announces it."""
        return self._members[name].file_size

    def archive(self, name: str) -> int:
        """Return 0: there is one archive."""
        return 0

    def only(self, names: Collection[str]) -> Archive:
        """Return the archive itself: what is sent to another process is only where it lies."""
        return self

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file, which must not be longer than `limit` bytes.

        Raises:
            MemberError: It is too long, damaged, or compressed in an unknown way.
            DataError: EK210 when the archive is elsewhere and does not come.
        """
        member = self._members[name]
        if member.file_size > limit:
            raise MemberError(f"{member.file_size} bytes are too many")
        try:
            # One lock for all: ZipFile counts its open members without one.
            with self._lock, self._zip.open(member) as stream:
                # Asking for one byte more than declared bounds what a lying header can inflate to.
                content = stream.read(member.file_size + 1)
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            RuntimeError,
            EOFError,
            OSError,
            zlib.error,
        ) as error:
            raise MemberError(str(error) or type(error).__name__) from error
        if len(content) != member.file_size:
            raise MemberError(f"holds {len(content)} bytes where {member.file_size} were announced")
        return content


@functools.lru_cache(maxsize=4)
def _opened_again(file: Path | Stored, where: str, size: int) -> Archive:
    """Open an archive in another process, once for all that is sent there; raises DataError EK201."""
    if not isinstance(file, Path):
        file.require_same(where)
    elif not file.is_file() or file.stat().st_size != size:
        raise another_archive(where)
    return Archive(file, where=where)


def _check(member: zipfile.ZipInfo, where: str) -> None:
    """Raise DataError EK205 when one directory entry is a sign of an archive made to do harm."""
    path = member.filename.replace("\\", "/")
    reason = ""
    if path.startswith("/") or path[1:2] == ":":
        reason = "has an absolute name"
    elif ".." in path.split("/"):
        reason = "has a name that leads out of the archive"
    elif member.flag_bits & _ENCRYPTED:
        reason = "is encrypted"
    elif stat.S_ISLNK(member.external_attr >> 16):
        reason = "is a symbolic link"
    elif member.file_size > max(_RATIO_MATTERS_ABOVE, member.compress_size * _MAX_RATIO):
        reason = f"would grow from {member.compress_size} to {member.file_size} bytes"
    if reason:
        hint = "pack it again without this file, with relative names and no password"
        raise DataError("EK205", f"the member {member.filename!r} {reason}", where=where, hint=hint)
