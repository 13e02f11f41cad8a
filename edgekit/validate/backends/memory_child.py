"""Run as a program of its own: opens one model, runs it, prints the most memory that took as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final, cast

import numpy as np

from edgekit.machine import system_text
from edgekit.validate._memory import parse_peak
from edgekit.validate._session import Provider
from edgekit.validate.backends._backend import BackendName
from edgekit.validate.backends._choose import choose_backend

_RUNS: Final = 3  # the first plans memory, the next ones use the plan


def main(words: list[str]) -> None:
    """Take the words that `peak_memory` passes."""
    name, provider, threads, size, path = words
    backend = choose_backend(cast("BackendName", name), cast("Provider", provider))
    model = backend.open(Path(path), threads=int(threads))
    frame = np.zeros((1, 3, int(size), int(size)), np.float32)
    for _ in range(_RUNS):
        model(frame)
    print(json.dumps(parse_peak(system_text(Path("/proc/self/status")) or "")))


if __name__ == "__main__":
    main(sys.argv[1:])
