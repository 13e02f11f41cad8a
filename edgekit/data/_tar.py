"""Where the files of a tar archive lie, from its headers alone; made by strangers, so nothing in them is believed."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from edgekit.data._index_cache import TarIndex
from edgekit.data._labels import LABEL_BYTES, label_in
from edgekit.errors import DataError

_BLOCK = 512
# Long names and extended headers are read whole by the library; no honest one comes near this.
_LONGEST_HEADER = 1 << 20
_COMPRESSIONS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))


class _DamagedError(Exception):
    """The archive does not go on as it says."""


# What the library raises, also for headers that nobody wrote in good faith.
_FAULTS = (_DamagedError, tarfile.TarError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError,
           RecursionError)  # fmt: skip


class _Headers:
    """A file as the library may use it: no read is long, and none is negative."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise _DamagedError(f"a header of {size} bytes")
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        return self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()


def read_index(stream: BinaryIO, size: int, *, where: str) -> TarIndex:
    """Walk over the headers of a tar archive.

    Args:
        stream: The archive.
        size: Its length in bytes.
        where: The archive, for messages.

    Raises:
        DataError: EK201 when it is no tar archive, is compressed, cut short or damaged; EK205 when a member is a link,
            a device or sparse, has a name that leads out of the archive, or one that another member has.
    """
    start = stream.read(_BLOCK)
    stream.seek(0)
    for magic, name in _COMPRESSIONS:
        if start.startswith(magic):
            raise compressed(where, name)
    names: dict[str, tuple[int, int]] = {}
    labels: dict[str, bytes] = {}
    place = 0
    try:
        with tarfile.open(fileobj=_Headers(stream), mode="r:", encoding="utf-8", errors="strict") as archive:  # type: ignore[call-overload]
            while (member := _next(archive, place, size)) is not None:
                place = archive.offset
                if member.isdir():
                    continue
                name = _checked_name(member, names, where)
                names[name] = member.offset_data, member.size
                if name.endswith((".cls", ".json")) and member.size <= LABEL_BYTES:
                    labels[name] = _label(stream, member, name)
            _require_end(stream, place, size)
    except _FAULTS as error:
        raise DataError(
            "EK201",
            f"not a tar archive, or cut short or damaged, at byte {place:,} ({str(error) or type(error).__name__})",
            where=where,
            hint="copy or download it again",
        ) from error
    offsets, sizes = zip(*names.values(), strict=True) if names else ((), ())
    return TarIndex(tuple(names), offsets, sizes, labels)


def _next(archive: tarfile.TarFile, place: int, size: int) -> tarfile.TarInfo | None:
    """Return the next member; raises _DamagedError when it is not all there."""
    member = archive.next()
    if member is None:
        return None
    # The library keeps every member; of a million that is a gigabyte.
    archive.members.clear()  # type: ignore[attr-defined]
    if not place < archive.offset or member.size < 0:
        raise _DamagedError(f"{member.name!r} has {member.size} bytes")
    if archive.offset > size:
        raise _DamagedError(f"{member.name!r} goes on after the end of the file")
    return member


def _require_end(stream: BinaryIO, place: int, size: int) -> None:
    """Raise _DamagedError unless the archive ends here: to the library, a damaged header is an end as well."""
    stream.seek(place)
    end = stream.read(_BLOCK)
    if end != bytes(_BLOCK):
        raise _DamagedError("no end of the archive" if size - place < _BLOCK else "what follows is no header")


def _checked_name(member: tarfile.TarInfo, known: Mapping[str, Any], where: str) -> str:
    """Return the name of a file; raises DataError EK205 when the member is a sign of an archive made to do harm."""
    name = member.name.replace("\\", "/").removeprefix("./")
    reason = ""
    if member.issym() or member.islnk():
        reason = "is a link"
    elif member.issparse():
        reason = "is sparse"
    elif not member.isreg():
        reason = "is no file"
    elif name.startswith("/") or name[1:2] == ":":
        reason = "has an absolute name"
    elif ".." in name.split("/"):
        reason = "has a name that leads out of the archive"
    elif name in known:
        reason = "is there twice"
    if reason:
        raise unsafe(f"the member {member.name!r} {reason}", where)
    return name


def _label(stream: BinaryIO, member: tarfile.TarInfo, name: str) -> bytes:
    stream.seek(member.offset_data)
    content = stream.read(member.size)
    return content if name.endswith(".cls") else json.dumps({"label": label_in(content)}).encode()


def compressed(where: str, how: str) -> DataError:
    """Return the error of a compressed tar archive."""
    hint = "unpack the compression alone (gunzip shard.tar.gz) and give the .tar: images are compressed already"
    return DataError("EK201", f"a tar archive with {how} around it cannot be read by parts", where=where, hint=hint)


def unsafe(what: str, where: str) -> DataError:
    """Return the error of an archive that must not be read."""
    hint = "pack it again without links, with relative names, and with each name once"
    return DataError("EK205", what, where=where, hint=hint)
