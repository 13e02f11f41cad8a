"""What this machine is, as far as it decides the numbers in a report."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from edgekit.machine import package_version, parse_cpuinfo, system_text
from edgekit.report._schema import Environment


def environment() -> Environment:
    """Return versions (without importing the packages), CPU and operating system; no host name, no path."""
    name, features = parse_cpuinfo(system_text(Path("/proc/cpuinfo")) or "")
    return Environment(
        python=platform.python_version(),
        torch=package_version("torch"),
        onnx=package_version("onnx"),
        onnxruntime=package_version("onnxruntime"),
        numpy=package_version("numpy"),
        cpu=name or platform.machine(),
        cpu_int8=features,
        cores=len(os.sched_getaffinity(0)),
        os=platform.platform(),
    )
