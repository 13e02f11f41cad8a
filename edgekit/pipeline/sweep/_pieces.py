"""Pieces of work that several trials share: each lies in a file that is named after what it was made from.

Several processes, on several machines, may work in one folder. A piece is written whole or not at all, so one that is
there is finished; a lock keeps two from making the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgekit
from edgekit.files import refusing_write_errors


def key(**inputs: Any) -> str:
    """Return the name of a piece that is made from these inputs by this version of edgekit."""
    text = json.dumps({"edgekit": edgekit.__version__, **inputs}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def piece(path: Path, make: Callable[[Path], object]) -> Path:
    """Return a piece, after making it where it is not there yet; `make` writes it whole or not at all."""
    if not path.exists():
        with waiting_for(path.with_name(f"{path.name}.lock")):
            if not path.exists():
                make(path)
    return path


@contextlib.contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Hold a lock, after waiting for whoever has it; it is let go where its holder dies."""
    with refusing_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
