"""From a path on the command line to an `ImageSet`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from edgekit.data._archive import Archive, MemberError
from edgekit.data._image_set import ImageSet
from edgekit.data._labels import CLASSES_FILE, check_indices, index_folders, parse_classes
from edgekit.data._layout import Layout, arrange, is_split
from edgekit.data._npz import open_npz
from edgekit.data._sources import FileSource, FolderFiles, Source, ZipFiles
from edgekit.errors import DataError

_KINDS = "an image folder, one folder for each class, a .zip of either, or an .npz"


def open_images(path: Path | str, *, class_names: Sequence[str] | None = None) -> ImageSet:
    """Open a set of images; nothing is decoded yet and no archive is unpacked.

    `path` is one of:

    - a folder of images: no labels;
    - a folder with one folder for each class, at the top or below `val/`, `test/`, `validation/` or `train/`
      (taken in this order of preference) or below any single folder;
    - a `.zip` of either; `archive.zip/train` names a folder inside it;
    - an `.npz` with `images`, `x` or `data` (uint8, NHWC or NHW) and perhaps `labels` or `y` (integers).

    One folder alone is no choice between classes: its images have no labels unless `classes.txt` or
    `class_names` names it. Hidden files and other kinds of files are ignored. Images are in the sorted order
    of their paths; `identifiers` are relative to `path`.

    Args:
        path: Where the images are.
        class_names: The model's class names in the order of its logits. Labels then follow this order;
            folders match by their own name or by their readable name in `classes.txt`. Without it the order
            of `classes.txt` holds (at the top, or above the split folder), else the sorted order of folders.

    Raises:
        DataError: EK201 when there is nothing of a known kind at `path`; EK202 when it has no images; EK205
            when an archive is unsafe to read; EK206 when an npz has another form; EK207 when classes do not
            fit.
    """
    where = str(path)
    try:
        place = Path(path)
        if place.is_dir():
            return _open_folder(place, where, class_names)
        archive_path, within = _split_archive(place, where)
        if archive_path.suffix.lower() == ".zip":
            return _open_zip(archive_path, within, where, class_names)
        if archive_path.suffix.lower() == ".npz" and not within:
            return _open_npz(archive_path, where, class_names)
    except OSError as error:
        hint = "check the path and its permissions"
        raise DataError("EK201", f"cannot be read ({error.strerror})", where=where, hint=hint) from error
    raise DataError("EK201", "not a data set of a known kind", where=where, hint=f"give {_KINDS}")


def _split_archive(place: Path, where: str) -> tuple[Path, str]:
    """Split `data.zip/train` into the file and the folder inside it."""
    for candidate in (place, *place.parents):
        if candidate.is_file():
            return candidate, "/".join(place.relative_to(candidate).parts)
        if candidate.exists():
            break
    raise DataError("EK201", "no such file or folder", where=where, hint=f"give {_KINDS}")


def _open_folder(root: Path, where: str, class_names: Sequence[str] | None) -> ImageSet:
    files = FolderFiles(root)
    names = files.names()
    layout = arrange(names, where=where)
    content = _find_classes(layout.root, names, files.content, where)
    above = root.resolve().parent / CLASSES_FILE
    if content is None and is_split(root.resolve().name) and above.is_file():
        content = above.read_bytes()
    return _image_set(FileSource(files, layout.paths), layout, content, where, class_names)


def _open_zip(path: Path, within: str, where: str, class_names: Sequence[str] | None) -> ImageSet:
    archive = Archive(path, where=where)
    files = ZipFiles(archive, within)
    names = files.names()
    if within and not names:
        raise DataError(
            "EK201", f"the archive has no folder {within}", where=where, hint="check the name of the folder"
        )
    layout = arrange(names, where=where)
    root = "/".join(part for part in (within, layout.root) if part)
    content = _find_classes(root, archive.names(), archive.read, where)
    return _image_set(FileSource(files, layout.paths), layout, content, where, class_names)


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
    source: Source, layout: Layout, classes: bytes | None, where: str, class_names: Sequence[str] | None
) -> ImageSet:
    count = len(layout.paths)
    if layout.folders is None:
        return _numbered(source, count, where, None, None)
    folders = set(layout.folders)
    listing = None if classes is None else parse_classes(classes, where=where)
    if len(folders) == 1 and listing is None and not folders & set(class_names or ()):
        return _numbered(source, count, where, None, None)
    positions, names = index_folders(folders, listing, class_names, where=where)
    return _numbered(source, count, where, tuple(positions[folder] for folder in layout.folders), names)


def _numbered(
    source: Source, count: int, where: str, labels: tuple[int, ...] | None, names: tuple[str, ...] | None
) -> ImageSet:
    identifiers = tuple(source.identifier(index) for index in range(count))
    return ImageSet(where, identifiers, labels, names, source, range(count))
