"""Which index each class folder has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from edgekit.errors import DataError

CLASSES_FILE = "classes.txt"
# Of a longer label file the first bytes would not do either.
LABEL_BYTES = 1 << 20


def parse_classes(content: bytes, *, where: str) -> dict[str, str]:
    """Read `classes.txt`: on each line a folder, then its readable name; the order of lines is class order.

    Returns:
        Readable name by folder name; the folder name itself where the line gives no other.

    Raises:
        DataError: EK207 when the file is no text, is empty, or lists a folder twice.
    """
    try:
        lines = [line.split(maxsplit=1) for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise _misfit(f"{CLASSES_FILE} is not UTF-8 text", where, "save it as UTF-8") from error
    if not lines:
        raise _misfit(f"{CLASSES_FILE} is empty", where, "list one class folder a line, or remove the file")
    listing = {line[0]: line[-1].strip() for line in lines}
    if len(listing) < len(lines):
        twice = Counter(line[0] for line in lines).most_common(1)[0][0]
        hint = "list each folder once; the first word of a line is the folder"
        raise _misfit(f"{CLASSES_FILE} lists {twice} twice", where, hint)
    return listing


def index_folders(
    folders: Collection[str],
    listing: Mapping[str, str] | None,
    class_names: Sequence[str] | None,
    *,
    where: str,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Give each class folder its index.

    The order is the model's own when its class names are known, else that of `classes.txt`, else sorted.

    Args:
        folders: Names of the class folders that hold images.
        listing: What `parse_classes` returned, None without such a file.
        class_names: Class names of the model in the order of its logits, None when unknown.
        where: The data set as the user named it, for messages.

    Returns:
        Index by folder name, and the class names in order of their index.

    Raises:
        DataError: EK207 when a folder is not listed, or the folders do not fit the model's class names.
    """
    for folder in sorted(folders):
        if listing is not None and folder not in listing:
            hint = f"add a line for it to {CLASSES_FILE}, or remove the folder"
            raise _misfit(f"the class folder {folder} is not in {CLASSES_FILE}", where, hint)
    ordered = listing if listing is not None else {folder: folder for folder in sorted(folders)}
    names = tuple(ordered.values())
    positions = {folder: index for index, folder in enumerate(ordered)}
    if class_names is None or tuple(class_names) == names:
        return positions, names
    model_names = tuple(class_names)
    for alias in ({folder: folder for folder in folders}, {folder: ordered[folder] for folder in folders}):
        if _name_the_same(alias.values(), model_names):
            return {folder: model_names.index(name) for folder, name in alias.items()}, model_names
    stranger = next((folder for folder in sorted(folders) if folder not in model_names), min(folders))
    raise _misfit(
        f"the class folder {stranger} is not one of the {len(model_names)} classes of the model",
        where,
        f"name the folders as the model names its classes, or give these names in {CLASSES_FILE}",
    )


def label_in(content: bytes) -> int | str | None:
    """Return the `label` that a JSON file gives, a number or a name; None when it gives none."""
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        return None
    label = facts.get("label") if isinstance(facts, dict) else None
    return label if isinstance(label, (int, str)) and not isinstance(label, bool) else None


def index_labels(
    labels: tuple[int, ...] | tuple[str, ...],
    listing: Mapping[str, str] | None,
    class_names: Sequence[str] | None,
    *,
    where: str,
) -> tuple[tuple[int, ...], tuple[str, ...] | None]:
    """Turn labels into class indices.

    Names are folders, or stand for such. Numbers count the lines of `classes.txt`, without it the model's classes.

    Args:
        labels: Name or number of the class of each image.
        listing: What `parse_classes` returned, None without such a file.
        class_names: Class names of the model in the order of its logits, None when unknown.
        where: The data set as the user named it, for messages.

    Returns:
        The index of each image, and the class names in order of their index, None when there are none.

    Raises:
        DataError: EK207 when the labels do not fit the listing or the model.
    """
    folders = tuple(listing or ())
    if numbers := tuple(label for label in labels if isinstance(label, int)):
        if listing is None:
            check_indices(numbers, class_names, where=where)
            return numbers, None if class_names is None else tuple(class_names)
        if max(numbers) >= len(folders):
            hint = f"list every class in {CLASSES_FILE}, in the order that the numbers count"
            raise _misfit(f"label {max(numbers)} is beyond the {len(folders)} lines of {CLASSES_FILE}", where, hint)
    words = tuple(folders[label] if isinstance(label, int) else label for label in labels)
    positions, names = index_folders(set(words), listing, class_names, where=where)
    return tuple(positions[word] for word in words), names


def _name_the_same(names: Collection[str], model_names: Sequence[str]) -> bool:
    """Say whether each name stands for exactly one class, and for a different one."""
    occurrences = Counter(model_names)
    return len(set(names)) == len(names) and all(occurrences[name] == 1 for name in names)


def check_indices(labels: Sequence[int], class_names: Sequence[str] | None, *, where: str) -> None:
    """Check labels that come as numbers against the model's classes; raises DataError EK207."""
    if class_names is not None and labels and max(labels) >= len(class_names):
        raise _misfit(
            f"label {max(labels)} is beyond the {len(class_names)} classes of the model",
            where,
            "give labels that count the model's classes from 0",
        )


def _misfit(what: str, where: str, hint: str) -> DataError:
    return DataError("EK207", what, where=where, hint=hint)
