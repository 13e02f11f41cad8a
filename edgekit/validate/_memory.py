"""Peak memory of a model, measured in processes of their own so that nothing else is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from edgekit.errors import ComparisonError

_TIME_LIMIT_S: Final = 600
_CHILD: Final = "edgekit.validate.backends.memory_child"


def peak_memory(model: Path, *, backend: str, provider: str, threads: int, input_size: int) -> int | None:
    """Return the most bytes that a process held resident while it opened a model and ran it; None if nobody tells.

    The runtime is counted with it: subtract what `Backend.write_smallest` takes.

    Args:
        model: What the backend opens.
        backend: Name of the backend.
        provider: What onnxruntime runs on.
        threads: As for `Backend.open`.
        input_size: Height and width of an image.

    Raises:
        ComparisonError: EK614 when the process fails.
    """
    words = [backend, provider, str(threads), str(input_size), str(model)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", _CHILD, *words], capture_output=True, text=True, check=False, timeout=_TIME_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(model, f"no end after {_TIME_LIMIT_S} s") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise _failed(model, last[0] if last else f"exit code {done.returncode}")
    peak: int | None = json.loads(done.stdout)
    return peak


def _failed(model: Path, why: str) -> ComparisonError:
    return ComparisonError(
        "EK614",
        f"the process that measures its memory failed ({why})",
        where=str(model),
        hint="free memory, or take --no-memory",
    )


def parse_peak(status: str) -> int | None:
    """Return the peak resident memory in bytes from /proc/PID/status; None where the kernel does not tell it."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            amount, unit = value.split()
            return int(amount) * {"kB": 1024}[unit]
    return None
