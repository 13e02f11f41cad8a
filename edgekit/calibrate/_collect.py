"""One pass over the images through the FP32 model."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from edgekit.calibrate._summary import Summary, merge, summarise
from edgekit.errors import QuantizationError

if TYPE_CHECKING:
    import onnxruntime

_Images = npt.NDArray[np.float32]


def collect(
    model: onnx.ModelProto,
    batches: Iterable[_Images],
    tensors: Sequence[str],
    *,
    histogram: bool = True,
    progress: Callable[[int], None] | None = None,
    threads: int = 0,
) -> dict[str, Summary]:
    """Run the images through the model and summarise the wanted tensors, in memory that does not grow.

    Args:
        model: FP32 model with one image input.
        batches: Preprocessed images, float32 NCHW. They run one image at a time (or as many as a model with
            a fixed batch size wants), because all wanted tensors of a batch are in memory at once.
        tensors: Names of tensors of the model, its input among them where wanted.
        histogram: False keeps the extremes only, which is faster and enough for min-max.
        progress: Called after each run with the number of images in it.
        threads: Threads of onnxruntime; 0 takes one for each core.

    Raises:
        QuantizationError: EK502 when there are no images, a tensor holds NaN or infinity, or the images do
            not fill the fixed batch of the model.
        ValueError: A tensor is not in the model.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    image_input = next(value for value in model.graph.input if value.name not in constants)
    computed = [tensor for tensor in tensors if tensor != image_input.name]
    session = _session(model, computed, threads)

    def run(images: _Images) -> dict[str, _Images]:
        outputs = session.run(computed, {image_input.name: images}) if computed else []
        return dict(zip(computed, outputs, strict=True)) | {image_input.name: images}

    summaries = {tensor: Summary() for tensor in tensors}
    images = 0
    for values in _one_ahead(run, _parts(batches, _fixed_batch(image_input) or 1)):
        for tensor in tensors:
            summary = summarise(values[tensor], histogram=histogram)
            _require_finite(tensor, summary)
            summaries[tensor] = merge(summaries[tensor], summary)
        done = len(values[image_input.name])
        images += done
        if progress is not None:
            progress(done)
    if not images:
        raise QuantizationError(
            "EK502",
            "there are no calibration images",
            hint="give some with --calibration, 100 or more are best",
        )
    return summaries


def _session(model: onnx.ModelProto, tensors: Sequence[str], threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    produced = {output for node in model.graph.node for output in node.output}
    if missing := [tensor for tensor in tensors if tensor not in produced]:
        raise ValueError(f"the model has no tensors {missing}")
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    # onnxruntime needs at least one output, even when only the input is watched.
    names = tensors or [model.graph.output[0].name]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _fixed_batch(image_input: onnx.ValueInfoProto) -> int:
    dimensions = image_input.type.tensor_type.shape.dim
    return int(dimensions[0].dim_value) if dimensions else 0


def _parts(batches: Iterable[_Images], at_once: int) -> Iterator[_Images]:
    for batch in batches:
        if len(batch) % at_once:
            raise QuantizationError(
                "EK502",
                f"the model takes {at_once} images at a time and {len(batch) % at_once} are left over",
                hint=f"export the model with a dynamic batch, or give a multiple of {at_once} images",
            )
        for start in range(0, len(batch), at_once):
            yield np.ascontiguousarray(batch[start : start + at_once], dtype=np.float32)


def _one_ahead(run: Callable[[_Images], dict[str, _Images]], parts: Iterable[_Images]) -> Iterator[dict[str, _Images]]:
    """Run the next images while the caller counts the last: onnxruntime works outside Python's lock."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as worker:
        running: concurrent.futures.Future[dict[str, _Images]] | None = None
        for part in parts:
            ready, running = running, worker.submit(run, part)
            if ready is not None:
                yield ready.result()
        if running is not None:
            yield running.result()


def _require_finite(tensor: str, summary: Summary) -> None:
    if summary.count and not summary.is_finite:
        raise QuantizationError(
            "EK502",
            "the calibration images make this tensor NaN or infinite",
            where=tensor,
            hint="check the weights of the layer before it, and the preprocessing of the images",
        )
