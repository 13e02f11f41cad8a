"""OpenVINO on the CPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError
from edgekit.validate.backends._backend import thread_count, write_smallest_onnx


@dataclasses.dataclass(frozen=True)
class OpenVinoBackend:
    """Compiles ONNX files for the CPU, for the shortest time of one request."""

    reads: Literal["onnx"] = "onnx"

    def open(self, model: Path, *, threads: int) -> OpenVinoModel:
        """Open a model; raises ComparisonError EK612 when OpenVINO cannot read it."""
        import openvino

        core = openvino.Core()
        try:
            read = core.read_model(model)
        except RuntimeError as error:
            raise _unusable(model, error) from error
        return OpenVinoModel(core, read, model, thread_count(threads))

    def write_smallest(self, path: Path) -> None:
        """Write a model of next to nothing."""
        write_smallest_onnx(path)


class OpenVinoModel:
    """A model as OpenVINO runs it; compiled for each batch size when that is first met, which a warm-up covers.

    Args:
        core: An `openvino.Core`.
        read: What it read.
        path: Where from, for errors.
        threads: Threads that one request may use.
    """

    def __init__(self, core: Any, read: Any, path: Path, threads: int) -> None:
        import openvino

        batch = read.inputs[0].partial_shape[0]
        self.threads = threads
        self.runtime = f"OpenVINO {openvino.__version__.partition('-')[0]}"
        self.fixed_batch: int | None = batch.get_length() if batch.is_static else None
        self._core, self._read, self._path = core, read, path
        self._requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Return the logits of a batch; raises ComparisonError EK612 when OpenVINO cannot compile for its size."""
        request = self._requests.get(images.shape)
        if request is None:
            request = self._requests[images.shape] = self._compile(images.shape)
        logits: NDArray[Any] = request.infer({0: images}, share_inputs=True)[0]
        return logits

    def _compile(self, shape: tuple[int, ...]) -> Any:
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
        try:
            # A fixed shape is what a frame has on a device, and is no slower than an open one.
            self._read.reshape(list(shape))
            return self._core.compile_model(self._read, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise _unusable(self._path, error) from error


def _unusable(path: Path, error: RuntimeError) -> ComparisonError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ComparisonError(
        "EK612", f"OpenVINO cannot run it ({said})", where=str(path), hint="take another --backend for this model"
    )
