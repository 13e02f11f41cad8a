"""Who does a piece of work: this process, or whoever else has this shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Common = TypeVar("Common")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Does pieces of work; a Ray cluster is one (`ray_workers`), this process another (`HERE`)."""

    @property
    def count(self) -> int:
        """Pieces that are worked on at the same time."""

    def run(
        self,
        function: Callable[[Common, Item], Result],
        common: Common,
        items: Iterable[Item],
        *,
        waiting: int | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """Yield the place of each item and what `function(common, item)` returned, as they are done.

        Items are asked for only as there is room, so that they may follow from results that came before, and so that
        neither items nor results pile up.

        Args:
            function: A function of a module, without memory of its own: it may be called again where a worker was
                lost.
            common: What all calls need; sent once.
            items: The pieces.
            waiting: Pieces that may wait for a worker at most; None takes as many as there are workers.

        Raises:
            EdgekitError: As the function raises; EK021 when workers are lost again and again.
        """


class Here:
    """This process, one piece after another."""

    count = 1

    def run(
        self, function: Callable[[Any, Any], Any], common: Any, items: Iterable[Any], *, waiting: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield the place of each item and what the function returned, in order."""
        for index, item in enumerate(items):
            yield index, function(common, item)


HERE = Here()
