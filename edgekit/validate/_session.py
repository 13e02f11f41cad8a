"""The one place where onnxruntime opens a model, and a plain callable around what it opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError, EdgekitError, ModelError, UsageError, says_out_of_memory

if TYPE_CHECKING:
    import onnxruntime

_ONNX_FIRST_BYTE = b"\x08"  # tag of ir_version, the first field of every ONNX file
_ERRORS_ONLY = 3

Provider = Literal["cpu", "cuda", "tensorrt"]
PROVIDERS: Final[Mapping[Provider, str]] = MappingProxyType(
    {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
)
"""What onnxruntime may run on, by the name that edgekit uses."""


def session(model: Path | bytes, *, threads: int = 0, provider: Provider = "cpu") -> onnxruntime.InferenceSession:
    """Open an ONNX model, with all of onnxruntime's graph optimizations.

    Args:
        model: A file, or the bytes of one.
        threads: Threads within an operator; 0 takes every core that this process may use.
        provider: What it runs on; operators that a GPU does not have run on the CPU.

    Raises:
        ComparisonError: EK611 when the provider is not there, or does not start.
        ModelError: EK101 no such file, EK102 not ONNX, EK104 damaged, EK108 needs what onnxruntime does not
            have, EK109 refers to data outside its own folder.
        UsageError: EK001 when `threads` is negative.
    """
    import onnxruntime

    if threads < 0:
        raise UsageError("EK001", f"{threads} is not a number of threads", hint="give 0 for all cores, or 1 and more")
    if isinstance(model, Path) and not model.is_file():
        raise ModelError("EK101", "there is no such file", where=str(model), hint="check the path")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    # Idle threads of one model would else spin while another one is timed, and slow it down.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    source = str(model) if isinstance(model, Path) else model
    wanted = PROVIDERS[provider]
    _require_provider(wanted, onnxruntime.get_available_providers())
    try:
        opened = onnxruntime.InferenceSession(
            source, options, providers=list(dict.fromkeys([wanted, PROVIDERS["cpu"]]))
        )  # fmt: skip
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        raise _unloadable(error, model) from error
    # A provider whose libraries cannot be loaded is left out with a warning, and the CPU takes its place.
    _require_provider(wanted, opened.get_providers())
    return opened


def _require_provider(wanted: str, there: list[str]) -> None:
    if wanted not in there:
        raise ComparisonError(
            "EK611",
            f"onnxruntime has no {wanted} here, only {', '.join(there)}",
            where="--provider",
            hint="install onnxruntime-gpu with the CUDA and TensorRT that it names, or leave the option out",
        )


def _unloadable(error: Exception, model: Path | bytes) -> ModelError:
    where = str(model) if isinstance(model, Path) else ""
    kind = type(error).__name__
    said = " ".join(str(error).split(" : ", maxsplit=3)[-1].split())
    if "External data path" in said:
        if "escapes" in said or "Absolute path" in said:
            return ModelError(
                "EK109",
                "its weights are in a file outside its own folder",
                where=where,
                hint="put the model and its data file into one folder, or save it as one file",
            )
        hint = "put the data file of the model beside it"
        return ModelError("EK104", "the file with its weights is missing", where=where, hint=hint)
    if kind in ("InvalidProtobuf", "InvalidArgument"):
        if _first_byte(model) == _ONNX_FIRST_BYTE:
            return ModelError("EK104", "the ONNX file is cut short or damaged", where=where, hint="get it again")
        return ModelError("EK102", "the file is not ONNX", where=where, hint="give an .onnx file")
    return ModelError(
        "EK108",
        f"onnxruntime cannot run it ({said})",
        where=where,
        hint="export it for an opset and with operators that this onnxruntime knows",
    )


def _first_byte(model: Path | bytes) -> bytes:
    if isinstance(model, bytes):
        return model[:1]
    with model.open("rb") as stream:
        return stream.read(1)


class Runner:
    """An image classifier as a callable: (N, 3, H, W) float32 in, (N, C) float32 logits out.

    A model whose batch size is fixed is fed in pieces of that size, `fixed_batch`. `threads` and `runtime` say what
    a frame ran on.

    Args:
        opened: A session with one image input and one output.

    Raises:
        ModelError: EK108 when the inputs and outputs are not those of an image classifier.
    """

    def __init__(self, opened: onnxruntime.InferenceSession) -> None:
        import onnxruntime

        inputs, outputs = opened.get_inputs(), opened.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise _not_a_classifier(f"it has {len(inputs)} inputs and {len(outputs)} outputs")
        shape = inputs[0].shape
        if len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
            raise _not_a_classifier(f"its input is {inputs[0].type} of shape {shape}")
        self._session = opened
        self._input_name, self._output_names = inputs[0].name, [outputs[0].name]
        self.fixed_batch: int | None = shape[0] if isinstance(shape[0], int) else None
        self._image_shape = tuple(size if isinstance(size, int) else None for size in shape[1:])
        self._classes = outputs[0].shape[-1] if outputs[0].shape else None
        self.threads: int = opened.get_session_options().intra_op_num_threads
        self.runtime: str = f"onnxruntime {onnxruntime.__version__}{_accelerator(opened.get_providers())}"

    def __call__(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Return the logits of a batch.

        Raises:
            ComparisonError: EK601 when images have another size, EK603 when the model fails while it runs.
        """
        for found, wanted in zip(images.shape[1:], self._image_shape, strict=True):
            if wanted not in (None, found):
                raise _wrong_size(images.shape[1:], self._image_shape)
        if self.fixed_batch is None or self.fixed_batch == len(images):
            return self._run(images)
        return self._run_in_pieces(images, self.fixed_batch)

    def check_comparable(self, other: Runner) -> None:
        """Raise ComparisonError EK601 when the declared image sizes or class counts of two models differ."""
        for mine, its in zip(self._image_shape, other._image_shape, strict=True):
            if mine is not None and its is not None and mine != its:
                raise _wrong_size(self._image_shape, other._image_shape)
        mine, its = self._classes, other._classes
        if isinstance(mine, int) and isinstance(its, int) and mine != its:
            raise ComparisonError(
                "EK601",
                f"one model has {mine} classes and the other {its}",
                hint="compare two models of the same classes",
            )

    def _run(self, images: NDArray[np.float32]) -> NDArray[Any]:
        try:
            logits: NDArray[Any] = self._session.run(self._output_names, {self._input_name: images})[0]
        except Exception as error:  # onnxruntime's exceptions share no base class but this
            if says_out_of_memory(error):
                raise
            said = " ".join(str(error).split(" : ", maxsplit=3)[-1].split())
            raise ComparisonError(
                "EK603",
                f"the model fails while it runs ({said})",
                hint="export it again, and see that it takes any image: its size or an index may depend on the values",
            ) from error
        return logits

    def _run_in_pieces(self, images: NDArray[np.float32], size: int) -> NDArray[Any]:
        missing = -len(images) % size
        padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.float32)])
        pieces = [self._run(padded[start : start + size]) for start in range(0, len(padded), size)]
        return np.concatenate(pieces)[: len(images)]


def _accelerator(providers: list[str]) -> str:
    """Return what runs the model as far as it can, for its name; nothing for the CPU."""
    return "" if providers[0] == PROVIDERS["cpu"] else f" {providers[0].removesuffix('ExecutionProvider')}"


def runner(opened: onnxruntime.InferenceSession) -> Runner:
    """Return an open image classifier as a callable; raises ModelError EK108 when it is not one."""
    return Runner(opened)


def _not_a_classifier(what: str) -> EdgekitError:
    return ModelError(
        "EK108",
        what,
        hint="give a model with one float32 input (images, 3, height, width) and one output of logits",
    )


def _wrong_size(first: tuple[int | None, ...], second: tuple[int | None, ...]) -> EdgekitError:
    one, other = ("x".join("?" if size is None else str(size) for size in shape) for shape in (first, second))
    return ComparisonError(
        "EK601",
        f"images of {one} meet a model for {other}",
        hint="compare models of the same input size, on images prepared for it",
    )
