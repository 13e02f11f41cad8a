"""On which line of a TOML file a key is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def line_of(text: str, key: Sequence[str]) -> int | None:
    """Return the line on which a key of a TOML text begins, from 1; None where the text does not have it.

    The parser keeps no lines. But a beginning of the text that is whole statements parses, so the statement of a key
    is the one between the last such beginning without the key and the first with it.
    """
    lines = text.splitlines(keepends=True)
    before = 0
    for count in range(1, len(lines) + 1):
        try:
            content: Any = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for part in key:
            content = content.get(part) if isinstance(content, dict) else None
        if content is not None:
            return before + 1
        before = count
    return None
