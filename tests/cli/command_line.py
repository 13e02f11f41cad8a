"""Runs command lines for the tests of this folder: in this process, or in one of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.cli._main import run

QUICK = ("--effort", "fast", "--calibration-samples", 24, "--eval-samples", 100, "--threads", 1)
SMALL_V2 = ("mobilenet_v2", "--width", 0.35, "--input-size", 64, "--num-classes", 10)
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """What `--json` printed; standard output must hold that and nothing else."""
        return json.loads(self.out)


def edgekit(*words: object) -> Outcome:
    """Run one command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


def python(*words: object, before: Callable[[], None] | None = None, folder: Path | None = None) -> Outcome:
    """Run Python in a process of its own, e.g. with `-m edgekit …`; `before` runs in it first."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        check=False, capture_output=True, text=True, cwd=folder, env=environment(), preexec_fn=before,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def started(*words: object) -> subprocess.Popen[str]:
    """Start Python in a process of its own that Ctrl-C interrupts, even where this one ignores it."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def environment() -> dict[str, str]:
    """The variables of this process, with this checkout first among the packages."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}


def refusal(outcome: Outcome) -> str:
    """Return the one line that bad input gets, after checking that it is one, with exit code 2."""
    assert outcome.code == 2, outcome
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("edgekit: EK")
    assert not lines[0].endswith(".")
    assert "Traceback" not in outcome.err
    return lines[0].removeprefix("edgekit: ")
