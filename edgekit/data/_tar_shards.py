"""One tree of files in any number of uncompressed tar archives, each file read by its place."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from edgekit.data._archive import MAX_FILE_BYTES, MemberError
from edgekit.data._index_cache import TarIndex, find_index, keep_index
from edgekit.data._stored import LocalFile, Stored
from edgekit.data._tar import read_index, unsafe

# Indexes of remote shards wait for the network: so many are read side by side.
_SIDE_BY_SIDE = 8
# Shard, offset and size of each file.
_Places: TypeAlias = Mapping[str, tuple[int, int, int]]


class TarShards:
    """Tar archives as if all were unpacked into one folder. Open them with `open_shards`.

    Args:
        files: The archives.
        places: Number of the archive, offset and size of each file by its name.
        labels: Content of the label files by name.
        where: The data set as the user named it, for messages.
    """

    def __init__(self, files: Sequence[Stored], places: _Places, labels: Mapping[str, bytes], where: str) -> None:
        self._files, self._places, self._labels, self._where = tuple(files), places, labels, where

    def __reduce__(self) -> tuple[object, ...]:
        return (_opened_again, (self._files, self._places, self._labels, self._where))

    def names(self) -> Sequence[str]:
        """Return the path of every file."""
        return tuple(self._places)

    def size(self, name: str) -> int:
        """Return the length of a file in bytes."""
        return self._places[name][2]

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a file's bytes.

        Raises:
            MemberError: It is longer than `limit`, or its archive became shorter.
            OSError: Its archive is gone.
            DataError: EK210 or EK211 when its archive is elsewhere and does not come.
        """
        if name in self._labels:
            return self._labels[name]
        shard, offset, size = self._places[name]
        if size > limit:
            raise MemberError(f"{size} bytes are too many")
        content = self._files[shard].read(offset, size)
        if len(content) != size:
            raise MemberError(f"{self._files[shard].name} became shorter")
        return content

    def archive(self, name: str) -> int:
        """Return the number of the archive that a file lies in."""
        return self._places[name][0]

    def only(self, names: Collection[str]) -> TarShards:
        """Return these files alone, with the archives that they lie in; label files are left behind."""
        numbers = sorted({self._places[name][0] for name in names})
        renumbered = {number: place for place, number in enumerate(numbers)}
        places = {
            name: (renumbered[shard], offset, size)
            for name, (shard, offset, size) in ((name, self._places[name]) for name in names)
        }
        return TarShards([self._files[number] for number in numbers], places, {}, self._where)


def open_shards(files: Sequence[Stored], *, where: str) -> TarShards:
    """Read the headers of tar archives, or what was kept of them.

    Raises:
        DataError: EK201, EK205, EK210 or EK211 as `read_index` and `remote_file`; EK205 when a name is in two shards.
    """
    if all(isinstance(file, LocalFile) for file in files):
        indexes = [_index(file) for file in files]
    else:
        with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="edgekit-index") as pool:
            indexes = list(pool.map(_index, files))
    places: dict[str, tuple[int, int, int]] = {}
    labels: dict[str, bytes] = {}
    for shard, index in enumerate(indexes):
        labels.update(index.labels)
        for name, offset, size in zip(index.names, index.offsets, index.sizes, strict=True):
            if name in places:
                other = files[places[name][0]].name
                raise unsafe(f"the member {name!r} is both in {other} and in {files[shard].name}", where)
            places[name] = shard, offset, size
    return TarShards(files, places, labels, where)


def _index(file: Stored) -> TarIndex:
    index = find_index(file)
    if index is None:
        with contextlib.closing(file.stream()) as stream:
            index = read_index(stream, file.size, where=file.key)
        keep_index(file, index)
    return index


def _opened_again(files: Sequence[Stored], places: _Places, labels: Mapping[str, bytes], where: str) -> TarShards:
    """Open archives in another process; raises DataError EK201 when it does not see the same ones."""
    for file in files:
        _require_same(file, where)
    return TarShards(files, places, labels, where)


@functools.lru_cache(maxsize=4096)
def _require_same(file: Stored, where: str) -> None:
    """Ask once in this process whether a shard is still what it was."""
    file.require_same(where)
