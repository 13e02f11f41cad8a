"""onnxruntime, on the CPU or one of its GPU providers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from edgekit.validate._session import Provider, Runner, runner, session
from edgekit.validate.backends._backend import write_smallest_onnx


@dataclasses.dataclass(frozen=True)
class OnnxRuntimeBackend:
    """Runs ONNX files as `edgekit.validate.session` opens them."""

    provider: Provider = "cpu"
    reads: Literal["onnx"] = "onnx"

    def open(self, model: Path, *, threads: int) -> Runner:
        """Open a model; raises what `session` and `runner` do."""
        return runner(session(model, threads=threads, provider=self.provider))

    def write_smallest(self, path: Path) -> None:
        """Write a model of next to nothing."""
        write_smallest_onnx(path)
