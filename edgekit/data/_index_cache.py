"""Indexes of tar shards, kept on disk so that headers are read once: a small file for each shard, by where it lies.

What cannot be read or written there costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgekit.data._stored import Stored
from edgekit.errors import UsageError
from edgekit.files import read_at_most, write_bytes

_SCHEMA: Final = "edgekit.shard/1"
_LARGEST: Final = 1 << 30


@dataclasses.dataclass(frozen=True)
class TarIndex:
    """The files of one tar archive, in its order.

    Attributes:
        names: Path of each file, separated by `/`.
        offsets: Where the content of each begins.
        sizes: Length of each in bytes.
        labels: Content of the label files (`.cls`; of a `.json` its `label` alone), by name.
    """

    names: tuple[str, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    labels: Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class KeptIndex:
    """The index of a shard as `edgekit cache` shows it.

    Attributes:
        path: Where it is kept.
        key: Where the shard lies; empty when that can no longer be read.
        size_bytes: Its size.
        used: When it was last used, in seconds since 1970.
    """

    path: Path
    key: str
    size_bytes: int
    used: float


def index_folder() -> Path:
    """Return where indexes are kept: `edgekit/shards` in `$XDG_CACHE_HOME`, or in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit" / "shards"


def find_index(file: Stored) -> TarIndex | None:
    """Return the index of a shard that has not changed since it was kept, else None."""
    if file.mark is None:
        return None
    path = _path(file)
    try:
        content = read_at_most(path, _LARGEST)
        facts = json.loads(content or b"")
        if [facts["schema"], facts["key"], facts["size"], facts["mark"]] != [_SCHEMA, file.key, file.size, file.mark]:
            return None
        index = _index(facts, file.size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return index


def keep_index(file: Stored, index: TarIndex) -> None:
    """Keep the index of a shard, unless nothing would tell that the shard has changed."""
    if file.mark is None:
        return
    labels = {name: content.decode("latin-1") for name, content in index.labels.items()}
    facts = {
        "schema": _SCHEMA, "key": file.key, "size": file.size, "mark": file.mark, "names": index.names,
        "offsets": index.offsets, "sizes": index.sizes, "labels": labels,
    }  # fmt: skip
    with contextlib.suppress(UsageError):
        write_bytes(_path(file), json.dumps(facts, separators=(",", ":")).encode())


def kept_indexes() -> tuple[KeptIndex, ...]:
    """Return all indexes that are kept, the last used first."""
    found = []
    for path in index_folder().glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            status = path.stat()
            found.append(KeptIndex(path, _key(path), status.st_size, status.st_mtime))
    return tuple(sorted(found, key=lambda kept: (-kept.used, kept.path)))


def drop_indexes(unused_days: float, *, dry_run: bool = False) -> tuple[KeptIndex, ...]:
    """Remove the indexes that nobody has used for so many days, and return them; dry: only return them."""
    oldest = time.time() - unused_days * 86_400.0
    dropped = tuple(kept for kept in kept_indexes() if kept.used < oldest)
    for kept in () if dry_run else dropped:
        with contextlib.suppress(OSError):
            kept.path.unlink()
    return dropped


def _key(path: Path) -> str:
    """Return what an index says about where its shard lies; the rest may be large and is not read."""
    with path.open("rb") as stream:
        start = stream.read(1 << 16).decode(errors="replace")
    found = re.search(r'"key":("(?:[^"\\]|\\.)*")', start)
    return str(json.loads(found[1])) if found else ""


def _path(file: Stored) -> Path:
    return index_folder() / f"{hashlib.sha256(file.key.encode()).hexdigest()[:32]}.json"


def _index(facts: dict[str, Any], size: int) -> TarIndex:
    """Return an index as it was kept; raises ValueError, KeyError or TypeError when somebody changed it."""
    names, offsets, sizes, labels = (facts[key] for key in ("names", "offsets", "sizes", "labels"))
    whole = all(type(number) is int and 0 <= number <= size for number in (*offsets, *sizes))
    if not (whole and len(names) == len(offsets) == len(sizes) and set(map(type, names)) <= {str}):
        raise ValueError("not an index")
    return TarIndex(
        tuple(names), tuple(offsets), tuple(sizes), {name: text.encode("latin-1") for name, text in labels.items()}
    )
