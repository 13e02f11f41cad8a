"""What the system says about the CPU and the packages that are installed, as every part reads it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Final

# Flag in /proc/cpuinfo (x86 and ARM name them differently) to the name that a report uses.
_INT8_FLAGS: Final = {
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "amx_int8": "amx_int8",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}


def package_version(package: str) -> str | None:
    """Return the version of a package without importing it; None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def system_text(path: Path) -> str | None:
    """Return what a file of the system (/proc, /sys) says; None where it is absent or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


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
