"""Running the program of a bundle, wherever that is, and what its failure means."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgekit.errors import TargetError

Show = Callable[[str], None]
# What a user may set for run.sh and runner.py, wherever they run.
SETTINGS: Final = ("EDGEKIT_WARMUP_MS", "EDGEKIT_DURATION_S", "EDGEKIT_RUNS")
MOST_LINES: Final = 500
# Time that a program gets to clean up after itself.
PATIENCE_S: Final = 15
LOG_LINES: Final = 20
LOGS: Final = ("run.log", "build.log")
# The line that run.sh and runner.py end with when a person can put it right.
_TOLD = re.compile(r"(EK7\d\d) (.+); (.+)")
_LOG = re.compile(r"\b(read|see) (build\.log|run\.log)")
_KILLED = (137, -9)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: Its exit status; negative when a signal ended it.
        lines: The last lines that it printed.
    """

    status: int
    lines: tuple[str, ...]


def settings() -> dict[str, str]:
    """Return what is set of the timing's settings in this environment."""
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


def cache_folder() -> Path | None:
    """Make the folder where timing caches stay between builds; None where it cannot be had."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return folder.resolve()
    return None


def run_program(command: Sequence[str], folder: Path, show: Show, environment: Mapping[str, str]) -> Outcome:
    """Run a program to its end, showing what it prints; it is stopped when this is interrupted.

    Args:
        command: The program and its arguments.
        folder: Folder to run it in.
        show: Is given each line.
        environment: Variables that it gets besides those of this process.
    """
    lines: deque[str] = deque(maxlen=MOST_LINES)
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                show(lines[-1])
            status = process.wait()
        except BaseException:
            stop(process)
            raise
    return Outcome(status, tuple(lines))


def stop(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process: asked first, then made to."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()


def show_log(folder: Path, show: Show) -> None:
    """Show the end of the log of what failed, before its folder goes."""
    for name in LOGS:
        with contextlib.suppress(OSError):
            for line in (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]:
                show(line)
            return


def failure(outcome: Outcome, where: str) -> TargetError:
    """Return the error that a program's failure is.

    Args:
        outcome: How it ended.
        where: Where it ran; empty for here.
    """
    for line in reversed(outcome.lines):
        if told := _TOLD.fullmatch(line):
            code, what, hint = (_LOG.sub(r"\1 the end of \2 above", part) for part in told.groups())
            return _told(code, what, hint, where)
    if outcome.status in _KILLED:
        return TargetError(
            "EK708",
            "the build was killed, most likely because the memory ran out",
            where=where,
            hint="add swap, close the desktop, or make a card of your own with less memory_gb",
        )
    last = f": {outcome.lines[-1]}" if outcome.lines else ""
    return TargetError(
        "EK712",
        f"the build ended with exit status {outcome.status}{last}",
        where=where,
        hint="see what it printed before that",
    )


def _told(code: str, what: str, hint: str, where: str) -> TargetError:
    """Return an error that run.sh, runner.py or session.sh told; docs/targets.md lists them."""
    match code:
        case "EK703":
            return TargetError("EK703", what, where=where, hint=hint)
        case "EK706":
            return TargetError("EK706", what, where=where, hint=hint)
        case "EK707":
            return TargetError("EK707", what, where=where, hint=hint)
        case "EK708":
            return TargetError("EK708", what, where=where, hint=hint)
        case "EK709":
            return TargetError("EK709", what, where=where, hint=hint)
        case "EK710":
            return TargetError("EK710", what, where=where, hint=hint)
        case "EK711":
            return TargetError("EK711", what, where=where, hint=hint)
        case _:
            return TargetError("EK712", what, where=where, hint=hint)
