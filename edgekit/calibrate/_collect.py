"""One pass over the images through the FP32 model."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import torch

from edgekit.calibrate._count import Counter, Scratch
from edgekit.calibrate._summary import Summary, merge
from edgekit.errors import QuantizationError

if TYPE_CHECKING:
    import onnxruntime

_Images: TypeAlias = npt.NDArray[np.float32]
# Each holds the tensors of one image; further threads help onnxruntime instead, so memory stays bounded.
_MOST_WORKERS = 4


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
        threads: Threads to use; 0 takes one for each core. Their number makes no difference to the result.

    Raises:
        QuantizationError: EK502 when there are no images, a tensor holds NaN or infinity, or the images do
            not fill the fixed batch of the model.
        ValueError: A tensor is not in the model.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    image_input = next(value for value in model.graph.input if value.name not in constants)
    tensors = tuple(dict.fromkeys(tensors))
    threads = threads or _cores()
    workers = [_Worker(image_input.name, tensors, histogram=histogram) for _ in range(min(threads, _MOST_WORKERS))]
    session = _session(model, workers[0].computed, threads - len(workers) + 1)
    parts = _parts(batches, _fixed_batch(image_input) or 1)
    images = 0
    for done in _spread(session, workers, parts):
        images += done
        if progress is not None:
            progress(done)
    if not images:
        raise QuantizationError(
            "EK502",
            "there are no calibration images",
            hint="give some with --calibration, 100 or more are best",
        )
    summaries = {tensor: Summary(bins=np.zeros(0, np.int64)) for tensor in tensors}
    for worker in workers:
        summaries = {tensor: merge(summary, worker.summary(tensor)) for tensor, summary in summaries.items()}
    return summaries


class _Worker:
    """Runs images through a session, and counts the tensors they make; used by one thread at a time."""

    def __init__(self, image_input: str, tensors: Sequence[str], *, histogram: bool) -> None:
        self.computed = [tensor for tensor in tensors if tensor != image_input]
        self._input = image_input
        self._counters = {tensor: Counter(histogram=histogram) for tensor in tensors}
        self._scratch = Scratch()

    def run(self, session: onnxruntime.InferenceSession, images: _Images) -> int:
        outputs = session.run(self.computed, {self._input: images}) if self.computed else []
        values = dict(zip(self.computed, outputs, strict=True)) | {self._input: images}
        for tensor, counter in self._counters.items():
            counter.add(values.pop(tensor), self._scratch)
            if not counter.is_finite:
                raise QuantizationError(
                    "EK502",
                    "the calibration images make this tensor NaN or infinite",
                    where=tensor,
                    hint="check the weights of the layer before it, and the preprocessing of the images",
                )
        return len(images)

    def summary(self, tensor: str) -> Summary:
        return self._counters[tensor].summary()


def _spread(session: onnxruntime.InferenceSession, workers: list[_Worker], parts: Iterable[_Images]) -> Iterator[int]:
    """Yield the number of images of each part, in order, once a worker is done with it."""
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def run(images: _Images) -> int:
        worker = idle.get()
        try:
            return worker.run(session, images)
        finally:
            idle.put(worker)

    with _pool(len(workers)) as pool:
        pending: deque[concurrent.futures.Future[int]] = deque()
        for part in parts:
            # One part waits, so that no worker has to.
            if len(pending) > len(workers):
                yield pending.popleft().result()
            pending.append(pool.submit(run, part))
        while pending:
            yield pending.popleft().result()


@contextlib.contextmanager
def _pool(size: int) -> Iterator[concurrent.futures.Executor]:
    """Yield threads inside which torch starts no threads of its own: they would fight over the cores."""
    before = torch.get_num_threads()
    try:
        with concurrent.futures.ThreadPoolExecutor(
            size, "edgekit-calibrate", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield pool
    finally:
        # What a thread sets is also what threads that start later get.
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    # Idle threads of onnxruntime would otherwise take the processor from those that count.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
