"""From a path on the command line to an `ImageSet`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from edgekit.data._archive import Archive, MemberError
from edgekit.data._find import KINDS, Found, FoundFolder, FoundTar, FoundZip, find, read_beside
from edgekit.data._image_set import ImageSet
from edgekit.data._labels import CLASSES_FILE, check_indices, index_labels, parse_classes
from edgekit.data._layout import Layout, arrange, is_split
from edgekit.data._location import shown
from edgekit.data._npz import open_npz
from edgekit.data._sidecars import read_labels
from edgekit.data._sources import ArchiveFiles, Files, FileSource, Members, Source
from edgekit.data._stored import Stored
from edgekit.errors import DataError
from edgekit.files import is_url


def open_images(path: Path | str, *, class_names: Sequence[str] | None = None) -> ImageSet:
    """Open a set of images; nothing is decoded yet and no archive is unpacked.

    `path` is one of:

    - a folder of images: no labels;
    - a folder with one folder for each class, at the top or below `val/`, `test/`, `validation/` or `train/`
      (taken in this order of preference) or below any single folder;
    - a `.zip` or an uncompressed `.tar` of either; `archive.zip/train` names a folder inside it;
    - tar shards (WebDataset): `train-{0000..0146}.tar`, `train-*.tar` or a folder of them, read as one tree; the
      headers are read once and kept in the user's cache folder;
    - a URL of any of these that fsspec can read (`s3://`, `gs://`, `https://`, `file://` …), as text;
    - an `.npz` with `images`, `x` or `data` (uint8, NHWC or NHW) and perhaps `labels` or `y` (integers).

    A `.cls` file beside each image holds its class index and comes before folders; a `.json` with a `label` serves
    images that lie in no class folders. One folder alone is no choice between classes: its images have no labels
    unless `classes.txt` or `class_names` names it. Hidden files and other kinds of files are ignored. Images are in
    the sorted order of their paths; `identifiers` are relative to `path`.

    Args:
        path: Where the images are.
        class_names: The model's class names in the order of its logits. Labels then follow this order;
            folders match by their own name or by their readable name in `classes.txt`. Without it the order
            of `classes.txt` holds (at the top, or above the split folder), else the sorted order of folders.

    Raises:
        DataError: EK201 when there is nothing of a known kind at `path`; EK202 when it has no images; EK205
            when an archive is unsafe to read; EK206 when an npz has another form; EK207 when classes do not
            fit; EK210 when a storage does not answer; EK211 when it gives whole files only.
        UsageError: EK004 when a package is missing that reads such URLs.
    """
    where = shown(str(path)) if is_url(path) else str(path)
    try:
        return _open(find(path, where=where), where, class_names)
    except OSError as error:
        hint = f"check the path and its permissions; give {KINDS}"
        raise DataError("EK201", f"cannot be read ({error.strerror})", where=where, hint=hint) from error


def fingerprint(url: str) -> str:
    """Return a hash that is another one when what lies behind a URL is another, as far as the storage tells.

    Names, lengths and what the storage says of each version (ETag, time of change) decide, and nothing is read. Where
    it says nothing, all images are read.

    Raises:
        EdgekitError: As `open_images` does.
    """
    found = find(url, where=shown(url))
    versions = [[name, file.size, file.mark] for name, file in _versions(found)]
    if any(mark is None for _, _, mark in versions):
        images = _open(found, shown(url), None)
        facts: list[object] = [images.sha256(), images.labels, images.class_names]
    else:
        classes = found.beside() if isinstance(found, FoundTar) else None
        facts = [sorted(versions), getattr(found, "within", ""), None if classes is None else classes.hex()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _versions(found: Found) -> list[tuple[str, Stored]]:
    """Return the files behind a URL by their names, in order."""
    if isinstance(found, FoundTar):
        return [(file.key, file) for file in found.files]
    if isinstance(found, FoundZip) and not isinstance(found.file, Path):
        return [(found.file.key, found.file)]
    assert isinstance(found, FoundFolder)
    return list(found.stored.items())


def _open(found: Found, where: str, class_names: Sequence[str] | None) -> ImageSet:
    if isinstance(found, FoundFolder):
        return _open_folder(found, where, class_names)
    if isinstance(found, FoundZip):
        return _open_archive(Archive(found.file, where=where), found.within, where, class_names)
    if isinstance(found, FoundTar):
        from edgekit.data._tar_shards import open_shards

        return _open_archive(open_shards(found.files, where=where), found.within, where, class_names, found.beside)
    return _open_npz(found.path, where, class_names)


def _open_folder(found: FoundFolder, where: str, class_names: Sequence[str] | None) -> ImageSet:
    names = found.files.names()
    layout = arrange(names, where=where)
    content = _find_classes(layout.root, names, found.files.content, where)
    if content is None and found.path is not None and is_split(found.path.name):
        content = read_beside(found.path.parent)
    return _image_set(found.files, names, layout, content, where, class_names)


def _open_archive(
    archive: Members,
    within: str,
    where: str,
    class_names: Sequence[str] | None,
    beside: Callable[[], bytes | None] = lambda: None,
) -> ImageSet:
    files = ArchiveFiles(archive, within)
    names = files.names()
    if within and not names:
        raise DataError(
            "EK201", f"the archive has no folder {within}", where=where, hint="check the name of the folder"
        )
    layout = arrange(names, where=where)
    root = "/".join(part for part in (within, layout.root) if part)
    content = _find_classes(root, archive.names(), archive.read, where)
    return _image_set(files, names, layout, beside() if content is None else content, where, class_names)


def _open_npz(path: Path, where: str, class_names: Sequence[str] | None) -> ImageSet:
    source, labels = open_npz(path, where=where)
    if not len(source):
        hint = "save at least one image in it"
        raise DataError("EK202", "there are no images", where=where, hint=hint)
    if labels is not None:
        check_indices(labels, class_names, where=where)
    names = tuple(class_names) if labels is not None and class_names is not None else None
    return _numbered(source, len(source), where, labels, names)


def _find_classes(root: str, names: Collection[str], read: Callable[[str], bytes], where: str) -> bytes | None:
    """Read the `classes.txt` in the folder of the classes, or in the nearest folder above it that has one."""
    parts = root.split("/") if root else []
    present = set(names)
    for depth in range(len(parts), -1, -1):
        candidate = "/".join((*parts[:depth], CLASSES_FILE))
        if candidate in present:
            try:
                return read(candidate)
            except MemberError as error:
                hint = f"replace {CLASSES_FILE}, or remove it to take the folders in sorted order"
                raise DataError("EK207", f"{candidate} is damaged ({error})", where=where, hint=hint) from error
    return None


def _image_set(
    files: Files,
    names: Collection[str],
    layout: Layout,
    classes: bytes | None,
    where: str,
    class_names: Sequence[str] | None,
) -> ImageSet:
    source, count = FileSource(files, layout.paths), len(layout.paths)
    listing = None if classes is None else parse_classes(classes, where=where)
    present = frozenset(names)
    given = read_labels(files, layout.paths, ".cls", names=present, where=where)
    folders = frozenset(layout.folders or ())
    is_choice = len(folders) > 1 or listing is not None or folders & set(class_names or ())
    if given is None and layout.folders is not None and is_choice:
        given = layout.folders
    if given is None:
        given = read_labels(files, layout.paths, ".json", names=present, where=where)
    if given is None:
        return _numbered(source, count, where, None, None)
    labels, named = index_labels(given, listing, class_names, where=where)
    return _numbered(source, count, where, labels, named)


def _numbered(
    source: Source, count: int, where: str, labels: tuple[int, ...] | None, names: tuple[str, ...] | None
) -> ImageSet:
    identifiers = tuple(source.identifier(index) for index in range(count))
    return ImageSet(where, identifiers, labels, names, source, range(count))
