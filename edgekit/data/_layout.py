"""Which of the files of a folder or archive are the images, and which folder is the class of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from edgekit.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

# In order of preference for measuring a model.
SPLITS = ("val", "test", "validation", "valid", "train", "training")

_Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Images in sorted order and the folders they lie in.

    Attributes:
        root: Folder that holds the images or the class folders, empty for the top.
        paths: Path of each image, separated by `/`.
        folders: Class folder of each image; None when the images lie flat.
    """

    root: str
    paths: tuple[str, ...]
    folders: tuple[str, ...] | None


def is_split(name: str) -> bool:
    """Say whether a folder of this name is one part of a data set rather than a class."""
    return name.lower() in SPLITS


def arrange(paths: Iterable[str], *, where: str, suffixes: tuple[str, ...] = SUFFIXES) -> Layout:
    """Find the images below the top folder, or below the split folder that suits evaluation best.

    Args:
        paths: Every file, relative to the top folder, separated by `/`; other files are ignored.
        where: The data set as the user named it, for messages.
        suffixes: What ends the name of an image, in small letters.

    Raises:
        DataError: EK201 when images lie beside folders of images; EK202 when there is no image.
    """
    images = sorted(path for path in (tuple(path.split("/")) for path in paths) if _is_image(path, suffixes))
    if not images:
        raise DataError(
            "EK202",
            "there are no images",
            where=where,
            hint=f"give a folder or archive with {', '.join(SUFFIXES)} files, or a folder of .tar shards",
        )
    root: _Path = ()
    while True:
        depth = len(root)
        flat = [path for path in images if len(path) == depth + 1]
        nested = [path for path in images if len(path) > depth + 1]
        if flat and nested:
            raise DataError(
                "EK201",
                f"{'/'.join(flat[0])} lies beside the folder {'/'.join(nested[0][: depth + 1])}",
                where=where,
                hint="give the folder that is meant, or keep either images or folders of images in it",
            )
        if flat:
            return Layout("/".join(root), _joined(flat), None)
        chosen = _descend(nested, depth)
        if chosen is None:
            return Layout("/".join(root), _joined(nested), tuple(path[depth] for path in nested))
        root = (*root, chosen)
        images = [path for path in nested if path[depth] == chosen]


def _is_image(path: _Path, suffixes: tuple[str, ...]) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path)
    return not hidden and path[-1].lower().endswith(suffixes)


def _joined(paths: Iterable[_Path]) -> tuple[str, ...]:
    return tuple("/".join(path) for path in paths)


def _descend(images: Iterable[_Path], depth: int) -> str | None:
    """Return the folder to go into, or None when the folders at this depth are the classes."""
    folders: set[str] = set()
    holding: set[str] = set()  # folders with images directly inside
    for path in images:
        folders.add(path[depth])
        if len(path) == depth + 2:
            holding.add(path[depth])
    splits = {name for name in folders if is_split(name)}
    # A class may be called "train" (CIFAR-100 has one): then it holds images and has other classes beside it.
    if splits and (splits == folders or not splits & holding):
        return min(splits, key=lambda name: (SPLITS.index(name.lower()), name))
    if len(folders) == 1 and not holding:
        return min(folders)
    return None
