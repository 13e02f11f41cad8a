"""Long lists are cut, and say so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Shown(Generic[Item]):
    """The part of a list that the page shows; `hidden` more are left out."""

    shown: Sequence[Item]
    hidden: int


def first(items: Sequence[Item], most: int) -> Shown[Item]:
    """Return the first `most` of a list."""
    return Shown(items[:most], max(len(items) - most, 0))
