"""Writing a folder of files whole or not at all, in the place of an earlier one of its kind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.files import refusing_write_errors


def write_folder(folder: Path, files: Mapping[str, bytes], *, mark: str, kind: str, option: str) -> tuple[str, ...]:
    """Write files into a folder that takes the place of an earlier one at the end, or leaves it as it was.

    Args:
        folder: A new or empty folder, or one that holds `mark`, which is replaced.
        files: Content by name, which may lie in folders; a name that ends in `/` is an empty folder.
        mark: Name of the file that tells an earlier folder of this kind from somebody's own.
        kind: What such a folder is called, with its article.
        option: Option that names another folder.

    Returns:
        The names of the files, sorted.

    Raises:
        UsageError: EK003 when the folder holds something else, or cannot be written.
    """
    with replacing_folder(folder, mark=mark, kind=kind, option=option) as staging:
        for name, content in files.items():
            path = staging / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return tuple(sorted(name for name in files if not name.endswith("/")))


@contextmanager
def replacing_folder(folder: Path, *, mark: str, kind: str, option: str) -> Iterator[Path]:
    """Yield a folder beside `folder` that takes its place at the end, or goes with an error; raises EK003."""
    if folder.exists() and not (folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))):
        raise UsageError(
            "EK003",
            f"the folder holds something that is not {kind}",
            where=str(folder),
            hint=f"name a new folder with {option}",
        )
    with refusing_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            staging = Path(temporary) / "new"
            staging.mkdir()
            yield staging
            if folder.exists():
                shutil.move(folder, Path(temporary) / "old")
            staging.rename(folder)
