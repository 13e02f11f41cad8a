"""Where the bytes of images lie: a folder, or a zip archive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from edgekit.data._archive import Archive, MemberError
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

    def content(self, name: str) -> bytes:
        """Return a file's bytes; raises MemberError or OSError."""
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

    def content(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self._root / name).read_bytes()


class ZipFiles:
    """The files below one folder of a zip archive.

    Args:
        archive: The open archive.
        within: Folder inside it that paths are relative to, empty for all of it.
    """

    def __init__(self, archive: Archive, within: str) -> None:
        self._archive = archive
        self._prefix = f"{within}/" if within else ""

    def names(self) -> Sequence[str]:
        """Return the path of every file below the folder."""
        length = len(self._prefix)
        return [name[length:] for name in self._archive.names() if name.startswith(self._prefix)]

    def size(self, name: str) -> int:
        """Return the length of a file in bytes, as the archive announces it."""
        return self._archive.member(self._prefix + name).file_size

    def content(self, name: str) -> bytes:
        """Return a file's bytes."""
        return self._archive.read(self._prefix + name)


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

    def read(self, index: int) -> Image.Image:
        """Decode the image's file to RGB."""
        return decode(self.encoded(index), self._paths[index])

    def only(self, indices: Sequence[int]) -> FileSource:
        """Return a source of the files at `indices` alone."""
        return FileSource(self._files, [self._paths[index] for index in indices])
