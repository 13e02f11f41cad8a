"""What NVIDIA's own ONNX parser and builder say about a model, without a GPU.

The packages tensorrt-rtx-cu13-bindings and -libs hold the parser and the builder of TensorRT-RTX, which run on any x86
Linux. They share their ONNX importer with TensorRT; their builder never makes an engine for a Jetson. A verdict from
here says that the graph is one that NVIDIA's importer takes, and nothing about speed or a device.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from edgekit.errors import UsageError

PACKAGE = "tensorrt_rtx_bindings"
TIME_LIMIT_S = 300


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the parser and the builder said.

    Attributes:
        version: Version of TensorRT-RTX.
        parsed: The parser took the model.
        built: The builder made an engine of it.
        unsupported: Nodes that the parser refuses, each with its reason.
        errors: What else was said, the most telling first.
        inputs: For each ONNX node that the engine has, the type that its layer reads, from the builder's log.
        engine_bytes: Size of the engine; None when none was built.
    """

    version: str
    parsed: bool
    built: bool
    unsupported: tuple[str, ...]
    errors: tuple[str, ...]
    inputs: Mapping[str, str]
    engine_bytes: int | None

    @property
    def accepted(self) -> bool:
        """Whether nothing stands against the model here."""
        return self.parsed and self.built and not self.unsupported


def check(model: Path) -> Verdict:
    """Parse and build a model with TensorRT-RTX in a process of its own, since it can crash.

    Raises:
        UsageError: EK004 when the packages are not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise UsageError(
            "EK004",
            "the package tensorrt-rtx-cu13-bindings is not installed",
            hint="install edgekit[rtx]: NVIDIA's parser, for x86 Linux, without a GPU",
        )
    command = [sys.executable, "-m", "edgekit.engine._rtx_process", str(model)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return _failed(f"no answer after {TIME_LIMIT_S} s")
    if done.returncode < 0:
        return _failed(f"the process died with {signal.Signals(-done.returncode).name}")
    try:
        said = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return _failed(last[0])
    return Verdict(**{**said, "unsupported": tuple(said["unsupported"]), "errors": tuple(said["errors"])})


def _failed(reason: str) -> Verdict:
    return Verdict("", False, False, (), (reason,), {}, None)
