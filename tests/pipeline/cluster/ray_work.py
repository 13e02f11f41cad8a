"""Pieces of work for the tests of Ray; workers find this module by PYTHONPATH."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from edgekit.pipeline.cluster import Workers


def dying_once(common: tuple[Callable[[Any, Any], Any], Any, Path], item: Any) -> Any:
    """Do the work, but let the worker that is first to come here die in the middle of it, as from a lack of memory."""
    function, real, marker = common
    result = function(real, item)
    with contextlib.suppress(FileExistsError):
        marker.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return result


class Mortal:
    """Workers of which one dies.

    Args:
        workers: The workers.
        marker: File that tells that it died.
    """

    def __init__(self, workers: Workers, marker: Path) -> None:
        self.count = workers.count
        self._workers = workers
        self._marker = marker

    def run(
        self, function: Callable[[Any, Any], Any], common: Any, items: Iterable[Any], *, waiting: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        yield from self._workers.run(dying_once, (function, common, self._marker), items, waiting=waiting)


def slow(common: float, item: int) -> int:
    """Take some seconds over an item."""
    time.sleep(common)
    return item
