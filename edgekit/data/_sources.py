"""Where the bytes of images lie: files in a folder or in archives."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from edgekit.data._archive import MAX_FILE_BYTES, MemberError
from edgekit.data._decode import BrokenImageError, decode
from edgekit.errors import DataError


class Source(Protocol):
    """Random access to images by number; safe to call from several threads."""

    def identifier(self, index: int) -> str:
        """Return the path of an image inside the set."""
        ...

    def size(self, index: int) -> int:
        """Return how many bytes `encoded` returns, without reading them."""
        ...

    def encoded(self, index: int) -> bytes:
        """Return the stored bytes of an image; raises BrokenImageError when they cannot be read."""
        ...

    def archive(self, index: int) -> int:
        """Return the number of the archive that an image lies in; 0 where there is one, or none."""
        ...

    def read(self, index: int) -> Image.Image:
        """Return an image in mode RGB; raises BrokenImageError."""
        ...

    def only(self, indices: Sequence[int]) -> Source:
        """Return a source of the images at `indices` alone, small enough to be sent to another process."""
        ...


class Files(Protocol):
    """A tree of files, addressed by paths separated by `/`."""

    def names(self) -> Sequence[str]:
        """Return the path of every file."""
        ...

    def size(self, name: str) -> int:
        """Return the length of a file in bytes."""
        ...

    def content(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a file's bytes; raises MemberError, also when there are more than `limit`, or OSError."""
        ...

    def archive(self, name: str) -> int:
        """Return the number of the archive that a file lies in; 0 where there is one, or none."""
        ...

    def only(self, names: Collection[str]) -> Files:
        """Return a tree that has these files and brings as little else as possible to another process."""
        ...


class Members(Protocol):
    """The files in one archive, or in several that are one tree."""

    def names(self) -> Sequence[str]:
        """Return the path of every file."""
        ...

    def size(self, name: str) -> int:
        """Return the length of a file in bytes."""
        ...

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a file's bytes; raises MemberError, also when there are more than `limit`."""
        ...

    def archive(self, name: str) -> int:
        """Return the number of the archive that a file lies in."""
        ...

    def only(self, names: Collection[str]) -> Members:
        """Return what these files alone need."""
        ...


class FolderFiles:
    """The files below a folder; links to folders are followed, each folder is visited once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getstate__(self) -> Path:
        return self._root.absolute()

    def __setstate__(self, root: Path) -> None:
        # Without this, a machine that lacks the folder would take every image for a broken one.
        if not root.is_dir():
            hint = "put the images where every machine of the cluster finds them under the same path"
            raise DataError("EK201", "a worker does not have this folder", where=str(root), hint=hint)
        self._root = root

    def names(self) -> Sequence[str]:
        """Return the path of every file that is not hidden."""
        names: list[str] = []
        visited: set[tuple[int, int]] = set()
        for folder, folders, files in os.walk(self._root, followlinks=True):
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in visited:
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = Path(folder).relative_to(self._root)
            names.extend((inside / name).as_posix() for name in files)
        return names

    def size(self, name: str) -> int:
        """Return the length of a file in bytes; 0 when it is gone."""
        try:
            return (self._root / name).stat().st_size
        except OSError:
            return 0

    def content(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a file's bytes; raises MemberError when there are more than `limit`."""
        path = self._root / name
        if (size := path.stat().st_size) > limit:
            raise MemberError(f"{size} bytes are too many")
        return path.read_bytes()

    def archive(self, name: str) -> int:
        """Return 0: there are no archives."""
        return 0

    def only(self, names: Collection[str]) -> FolderFiles:
        """Return the folder itself: what is sent to another process is only where it lies."""
        return self


class ArchiveFiles:
    """The files below one folder of an archive, or of several that are one tree.

    Args:
        archive: What holds the files.
        within: Folder inside it that paths are relative to, empty for all of it.
    """

    def __init__(self, archive: Members, within: str) -> None:
        self._archive = archive
        self._within = within
        self._prefix = f"{within}/" if within else ""

    def names(self) -> Sequence[str]:
        """Return the path of every file below the folder."""
        length = len(self._prefix)
        return [name[length:] for name in self._archive.names() if name.startswith(self._prefix)]

    def size(self, name: str) -> int:
        """Return the length of a file in bytes, as the archive announces it."""
        return self._archive.size(self._prefix + name)

    def content(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a file's bytes; raises MemberError when there are more than `limit`."""
        return self._archive.read(self._prefix + name, limit)

    def archive(self, name: str) -> int:
        """Return the number of the archive that a file lies in."""
        return self._archive.archive(self._prefix + name)

    def only(self, names: Collection[str]) -> ArchiveFiles:
        """Return what these files alone need."""
        return ArchiveFiles(self._archive.only([self._prefix + name for name in names]), self._within)


class FileSource:
    """Images that are files: the `Source` of folders and archives."""

    def __init__(self, files: Files, paths: Sequence[str]) -> None:
        self._files = files
        self._paths = paths

    def identifier(self, index: int) -> str:
        """Return the path of an image inside the set."""
        return self._paths[index]

    def size(self, index: int) -> int:
        """Return the length of the image's file."""
        return self._files.size(self._paths[index])

    def encoded(self, index: int) -> bytes:
        """Return the bytes of the image's file."""
        try:
            return self._files.content(self._paths[index])
        except MemberError as error:
            raise BrokenImageError(self._paths[index], str(error)) from error
        except OSError as error:
            raise BrokenImageError(self._paths[index], error.strerror or str(error)) from error

    def archive(self, index: int) -> int:
        """Return the number of the archive that the image's file lies in."""
        return self._files.archive(self._paths[index])

    def read(self, index: int) -> Image.Image:
        """Decode the image's file to RGB."""
        return decode(self.encoded(index), self._paths[index])

    def only(self, indices: Sequence[int]) -> FileSource:
        """Return a source of the files at `indices` alone."""
        paths = [self._paths[index] for index in indices]
        return FileSource(self._files.only(paths), paths)
