"""Running a bundle on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from edgekit.engine._run import Show, cache_folder, failure, run_program, show_log
from edgekit.errors import TargetError

# Where JetPack and NVIDIA's packages put it, beside the PATH.
TRTEXEC: Final = Path("/usr/src/tensorrt/bin/trtexec")
PACKAGES: Final = ("tensorrt", "pycuda")


def find_program() -> tuple[str, ...]:
    """Return the command that runs a bundle on this machine; raises TargetError EK707 when nothing can."""
    trtexec = os.environ.get("TRTEXEC") or shutil.which("trtexec") or (str(TRTEXEC) if TRTEXEC.is_file() else None)
    return choose_program(trtexec, tuple(name for name in PACKAGES if importlib.util.find_spec(name) is None))


def choose_program(trtexec: str | None, missing: tuple[str, ...]) -> tuple[str, ...]:
    """Decide what runs a bundle.

    Args:
        trtexec: Path of trtexec; None when there is none.
        missing: Which of TensorRT's Python packages are not there.

    Raises:
        TargetError: EK707 when neither is complete.
    """
    if trtexec is not None:
        return ("sh", "run.sh")
    if not missing:
        return (sys.executable, "runner.py")
    raise TargetError(
        "EK707",
        f"this machine has no trtexec, and its Python has no {' and no '.join(missing)}",
        hint="install TensorRT, or build elsewhere: --host USER@DEVICE, --container, or --bundle DIR to carry there",
    )


def build_here(program: tuple[str, ...], folder: Path, show: Show) -> None:
    """Run a bundle in its folder, which then holds the engine and `result.json`.

    Args:
        program: What `find_program` returned.
        folder: The bundle.
        show: Is given each line that it prints.

    Raises:
        TargetError: EK703 and EK706 to EK712 for what its program tells.
    """
    cache = cache_folder()
    outcome = run_program(program, folder, show, {"EDGEKIT_CACHE": str(cache)} if cache else {})
    if outcome.status != 0:
        show_log(folder, show)
        raise failure(outcome, "")
