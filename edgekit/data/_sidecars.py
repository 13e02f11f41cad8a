"""Labels that lie in a file beside each image, as in WebDataset: `000123.jpg`, and `000123.cls` or `000123.json`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

from edgekit.data._archive import MemberError
from edgekit.data._labels import LABEL_BYTES, label_in
from edgekit.data._sources import Files
from edgekit.errors import DataError

# Class indices, or names of classes.
Labels: TypeAlias = "tuple[int, ...] | tuple[str, ...]"


def read_labels(
    files: Files, paths: Sequence[str], suffix: str, *, names: Collection[str], where: str
) -> Labels | None:
    """Return what the files beside the images say.

    Args:
        files: Where they lie.
        paths: The images.
        suffix: `.cls`, a text with the class index; or `.json`, an object whose `label` is an index or a class name.
        names: Every file there is.
        where: The data set as the user named it, for messages.

    Returns:
        The label of each image; None where no image has such a file, or none of them has a `label`.

    Raises:
        DataError: EK207 when some images have a label and others have none, or when one is no label.
    """
    if not any(_beside(path, suffix) in names for path in paths):
        return None
    labels = [_label(files, _beside(path, suffix), names, where) for path in paths]
    missing = [path for path, label in zip(paths, labels, strict=True) if label is None]
    if len(missing) == len(paths):
        return None
    if missing:
        raise _misfit(f"{len(missing)} of {len(paths)} images have no label, {missing[0]} first", where)
    numbers = tuple(label for label in labels if isinstance(label, int))
    words = tuple(label for label in labels if isinstance(label, str))
    if numbers and words:
        raise _misfit("some labels are numbers and others are names", where)
    if numbers and min(numbers) < 0:
        raise _misfit(f"{min(numbers)} is no class index", where)
    return numbers or words


def _beside(path: str, suffix: str) -> str:
    """Return the name of an image with another suffix: from its first dot on, as WebDataset has it."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}{suffix}"


def _label(files: Files, name: str, names: Collection[str], where: str) -> int | str | None:
    if name not in names:
        return None
    try:
        content = files.content(name, LABEL_BYTES)
    except (MemberError, OSError) as error:
        raise _misfit(f"{name} cannot be read ({error})", where) from error
    if name.endswith(".json"):
        return label_in(content)
    text = content.strip()
    if not (text.isdigit() and len(text) < 10):
        raise _misfit(f"{name} holds no class index", where)
    return int(text)


def _misfit(what: str, where: str) -> DataError:
    hint = "put one class index, counted from 0, in the .cls file of each image, or as label in its .json"
    return DataError("EK207", what, where=where, hint=hint)
