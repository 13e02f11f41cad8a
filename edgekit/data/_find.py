"""What lies at a location: a folder, a zip archive, tar shards or an array; here or behind a URL."""

from __future__ import annotations

import dataclasses
import glob
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from edgekit.data._labels import CLASSES_FILE
from edgekit.data._layout import SUFFIXES, arrange
from edgekit.data._location import (
    expand,
    is_compressed_tar,
    is_glob,
    is_http,
    is_pattern,
    shown,
    split_archive,
    suffix_of,
)
from edgekit.data._sources import Files, FolderFiles
from edgekit.data._stored import LocalFile, Stored, local_file
from edgekit.errors import DataError
from edgekit.files import is_url, local_path, read_at_most

KINDS = "an image folder, one folder for each class, a .zip or .tar of either, tar shards, or an .npz"
_CLASSES_BYTES = 16 << 20
_TAR = ".tar"
_WAS_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/[^/]")


@dataclasses.dataclass(frozen=True)
class FoundFolder:
    """A folder of images: its files, itself where it is of this machine, else its files one by one."""

    files: Files
    path: Path | None
    stored: Mapping[str, Stored]


@dataclasses.dataclass(frozen=True)
class FoundZip:
    """A zip archive, and the folder in it that is meant."""

    file: Path | Stored
    within: str


@dataclasses.dataclass(frozen=True)
class FoundTar:
    """Tar shards, the folder in them that is meant, and what reads the `classes.txt` beside them."""

    files: tuple[Stored, ...]
    within: str
    beside: Callable[[], bytes | None]


@dataclasses.dataclass(frozen=True)
class FoundArray:
    """An npz file."""

    path: Path


Found: TypeAlias = FoundFolder | FoundZip | FoundTar | FoundArray


def find(location: Path | str, *, where: str) -> Found:
    """Look what lies at a location.

    Raises:
        OSError: A folder cannot be read.
        DataError: EK201 when there is nothing of a known kind; EK210 or EK211 when it is elsewhere and does not come.
        UsageError: EK004 when a package is missing that reads such URLs.
    """
    if is_url(location):
        path = local_path(str(location))
        return _find_remote(str(location), where) if path is None else _find_local(path, where)
    return _find_local(Path(location), where)


def shard_files(location: Path | str) -> tuple[Path, ...] | None:
    """Return the files that a pattern on this machine names, whether they exist or not; None when it is no pattern."""
    text, place = str(location), Path(location)
    if is_url(location) or not is_pattern(text) or place.is_dir() or _split(place) is not None:
        return None
    return tuple(_expanded(split_archive(text)[0], text))


def _find_local(place: Path, where: str) -> Found:
    if place.is_dir():
        files = FolderFiles(place)
        names = files.names()
        if shards := _shards_among(names, where):
            paths = [place / name for name in shards]
            return FoundTar(tuple(map(local_file, paths)), "", lambda: read_beside(paths[0].parent))
        return FoundFolder(files, place.resolve(), {})
    split = _split(place)
    if split is None:
        text, within = split_archive(str(place))
        if not is_pattern(text):
            hint = "give a URL as text, a Path keeps one slash of two" if _WAS_URL.match(text) else f"give {KINDS}"
            raise DataError("EK201", "no such file or folder", where=where, hint=hint)
        paths = _expanded(text, where)
        _require_tars(list(map(str, paths)), where)
        return FoundTar(tuple(map(_existing, paths)), within, lambda: read_beside(paths[0].parent))
    path, within = split
    suffix = path.suffix.lower()
    if suffix == _TAR:
        return FoundTar((local_file(path),), within, lambda: None)
    if suffix == ".zip":
        return FoundZip(path, within)
    if suffix == ".npz" and not within:
        return FoundArray(path)
    raise _unknown(str(path), where)


def _split(place: Path) -> tuple[Path, str] | None:
    """Split `data.zip/train` into the file and the folder inside it; None when there is no such file."""
    for candidate in (place, *place.parents):
        if candidate.is_file():
            return candidate, "/".join(place.relative_to(candidate).parts)
        if candidate.exists():
            break
    return None


def _shards_among(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the tar archives of a folder that holds no images, of one split where it has several."""
    tars = [name for name in names if name.lower().endswith(_TAR)]
    if not tars or any(name.lower().endswith(SUFFIXES) for name in names):
        return ()
    return arrange(tars, where=where, suffixes=(_TAR,)).paths


def _expanded(pattern: str, where: str) -> list[Path]:
    """Return the files that braces and wildcards name, in order; raises DataError EK201 for braces that are none."""
    names = expand(pattern, where=where)
    if is_glob(pattern):
        names = sorted({match for name in names for match in glob.glob(name)})  # noqa: PTH207 - it takes no absolute pattern
    return list(map(Path, names))


def _require_tars(names: Sequence[str], where: str) -> None:
    if not names:
        raise DataError("EK201", "no file fits the pattern", where=where, hint="check the pattern and the folder")
    if other := next((name for name in names if suffix_of(name) != _TAR), None):
        raise _unknown(other, where)


def _existing(path: Path) -> LocalFile:
    try:
        return local_file(path)
    except FileNotFoundError as error:
        hint = "check the numbers in the braces: every shard that they name must be there"
        raise DataError("EK201", "the shard does not exist", where=str(path), hint=hint) from error


def read_beside(folder: Path) -> bytes | None:
    """Return the `classes.txt` of a folder, None when it has none; raises OSError."""
    path = folder / CLASSES_FILE
    return read_at_most(path, _CLASSES_BYTES) if path.is_file() else None


def _find_remote(url: str, where: str) -> Found:
    from edgekit.data import _remote

    archive, within = split_archive(url)
    if suffix_of(archive) == _TAR:
        urls = expand(archive, where=where) if is_pattern(archive) else [archive]
        if is_glob(archive):
            _refuse_web_folder(url)
            urls = sorted({match for name in urls for match in _remote.glob(name)})
            _require_tars(urls, where)
        return _remote_shards(urls, within, alone=not is_pattern(archive))
    if suffix_of(archive) == ".zip":
        return FoundZip(_remote.remote_file(archive), within)
    if archive != url or suffix_of(url) in (".npz", ".gz"):
        raise _unknown(archive, where)
    _refuse_web_folder(url)
    if not _remote.is_folder(url):
        raise DataError("EK201", "no such file or folder", where=shown(url), hint=f"give the URL of {KINDS}")
    files = _remote.list_folder(url)
    if shards := _shards_among(tuple(files), where):
        return _remote_shards([files[name].url for name in shards], "", alone=False)
    return FoundFolder(_remote.RemoteFiles(files), None, files)


def _remote_shards(urls: Sequence[str], within: str, *, alone: bool) -> FoundTar:
    from edgekit.data import _remote

    folder = urls[0].rpartition("/")[0]
    return FoundTar(
        _remote.remote_files(urls),
        within,
        lambda: None if alone else _remote.optional_content(f"{folder}/{CLASSES_FILE}", _CLASSES_BYTES),
    )


def _refuse_web_folder(url: str) -> None:
    if is_http(url):
        hint = "give the URL of a .zip or .tar, or of tar shards with braces: train-{0000..0146}.tar"
        raise DataError("EK201", "the web has no folders that can be listed", where=shown(url), hint=hint)


def _unknown(path: str, where: str) -> DataError:
    if is_compressed_tar(path):
        from edgekit.data._tar import compressed

        return compressed(where, "compression")
    hint = f"give {KINDS}" + ("; an .npz is read from this machine alone" if "://" in path else "")
    return DataError("EK201", "not a data set of a known kind", where=where, hint=hint)
