"""What this machine is, as far as it decides the numbers in a report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

from edgekit.report._schema import Environment

# Flag in /proc/cpuinfo (x86 and ARM name them differently) to the name that a report uses.
_INT8_FLAGS: Final = {
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}


def environment() -> Environment:
    """Return versions (without importing the packages), CPU and operating system; no host name, no path."""
    name, features = parse_cpuinfo(_cpuinfo())
    return Environment(
        python=platform.python_version(),
        torch=_version("torch"),
        onnx=_version("onnx"),
        onnxruntime=_version("onnxruntime"),
        numpy=_version("numpy"),
        cpu=name or platform.machine(),
        cpu_int8=features,
        cores=len(os.sched_getaffinity(0)),
        os=platform.platform(),
    )


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the name of the CPU ("" where /proc/cpuinfo has none, as on most ARM) and its int8 instructions.

    Cores may differ (big.LITTLE): an instruction counts only when every core has it.
    """
    name = ""
    flags: set[str] | None = None
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name":
            name = name or " ".join(value.split())
        elif key in ("flags", "Features"):
            found = set(value.split())
            flags = found if flags is None else flags & found
    return name, tuple(feature for flag, feature in _INT8_FLAGS.items() if flag in (flags or ()))


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
