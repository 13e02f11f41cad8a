"""Reading small TOML files, which people may have written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST_FILE = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file says.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no TOML, or far larger than any that belongs here.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError("it is far larger than such files are")
    return tomllib.loads(path.read_text(encoding="utf-8"))
