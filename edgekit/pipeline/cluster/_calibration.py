"""Calibration by shards. Summaries merge exactly (`calibrate.merge`): who summarised what leaves no trace in them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from edgekit.calibrate import Summary, collect, merge
from edgekit.data import Batches, BrokenImage, ImageSet, batches, require_few_broken
from edgekit.errors import QuantizationError
from edgekit.pipeline.cluster._shards import SHARD, places
from edgekit.pipeline.cluster._workers import Workers
from edgekit.spec import Preprocessing


@dataclasses.dataclass(frozen=True)
class _Work:
    """What every shard needs to know; `whole` is the number of images of the set."""

    model: bytes
    tensors: tuple[str, ...]
    preprocessing: Preprocessing
    whole: int


def collect_shards(
    workers: Workers,
    model: onnx.ModelProto,
    images: ImageSet,
    preprocessing: Preprocessing,
    tensors: Sequence[str],
    *,
    size: int = SHARD,
    progress: Callable[[int], None] = lambda amount: None,
) -> tuple[dict[str, Summary], tuple[BrokenImage, ...]]:
    """Summarise tensors over a set of images, shard by shard; equal to what `calibrate.collect` makes of the whole.

    Args:
        workers: Who does it.
        model: FP32 model with one image input.
        images: The images; every worker finds them under the same path.
        preprocessing: What the model expects.
        tensors: Names of tensors of the model.
        size: Images of a shard at most.
        progress: Called after each shard with the number of images in it.

    Returns:
        The summary of each tensor, and the images that could not be read, in order.

    Raises:
        EdgekitError: EK2xx for the images, EK502 as `calibrate.collect`, EK02x for the cluster.
    """
    tensors = tuple(dict.fromkeys(tensors))
    work = _Work(model.SerializeToString(deterministic=True), tensors, preprocessing, len(images))
    summaries: dict[str, Summary] = dict.fromkeys(tensors, Summary())
    broken: dict[str, BrokenImage] = {}
    pieces = list(places(images, size))
    for index, (part, unread) in workers.run(_collect_shard, work, map(images.select, pieces)):
        summaries = {tensor: merge(summaries[tensor], part[tensor]) for tensor in tensors}
        broken.update((image.identifier, image) for image in unread)
        progress(len(pieces[index]))
    in_order = tuple(broken[name] for name in images.identifiers if name in broken) if broken else ()
    require_few_broken(in_order, len(images), images.name)
    return summaries, in_order


def _collect_shard(work: _Work, images: ImageSet) -> tuple[dict[str, Summary], tuple[BrokenImage, ...]]:
    with contextlib.closing(batches(images, work.preprocessing, whole=work.whole)) as stream:
        read = _Counted(stream)
        try:
            model = onnx.load_model_from_string(work.model)
            summaries = collect(model, read, work.tensors, threads=1)
        except QuantizationError:
            if read.count:
                raise
            # No image of this shard can be read: that alone is no fault where the set is large.
            summaries = dict.fromkeys(work.tensors, Summary())
        return summaries, stream.broken


class _Counted:
    """The arrays of a pass, and how many there were."""

    def __init__(self, stream: Batches) -> None:
        self._stream = stream
        self.count = 0

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        for batch in self._stream:
            self.count += len(batch.images)
            yield batch.images
