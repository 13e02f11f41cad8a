"""Evaluation of two models by shards."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from edgekit.data import Batch, Batches, BrokenImage, ImageSet, batches, require_few_broken
from edgekit.errors import DataError
from edgekit.pipeline.cluster._shards import SHARD, shards
from edgekit.pipeline.cluster._workers import Workers
from edgekit.pipeline.measuring import BATCH, Evaluated
from edgekit.spec import Preprocessing
from edgekit.validate import evaluate_pair, joined, runner, session


@dataclasses.dataclass(frozen=True)
class _Work:
    """What every shard needs to know; `whole` is the number of images of the set."""

    baseline: bytes
    candidate: bytes
    preprocessing: Preprocessing
    whole: int


def evaluate_shards(
    workers: Workers,
    baseline: bytes,
    candidate: bytes,
    images: ImageSet,
    preprocessing: Preprocessing,
    *,
    size: int = SHARD,
    progress: Callable[[int], None] = lambda amount: None,
) -> Evaluated:
    """Run two models over the same images, shard by shard; the rows are in the order of the set.

    Args:
        workers: Who does it.
        baseline: An ONNX model.
        candidate: The same, of the model under test.
        images: The images; every worker finds them under the same path.
        preprocessing: What the models expect.
        size: Images of a shard, a multiple of `BATCH`. Where an image cannot be read, the batches after it are other
            ones for other sizes, and logits may differ in their last bit.
        progress: Called after each shard with the number of images in it.

    Raises:
        EdgekitError: EK2xx for the images, EK601 when the models cannot be compared, EK02x for the cluster.
    """
    work = _Work(baseline, candidate, preprocessing, len(images))
    parts: dict[int, Evaluated] = {}
    broken: dict[int, tuple[BrokenImage, ...]] = {}
    for index, (part, unread) in workers.run(_evaluate_shard, work, shards(images, size)):
        broken[index] = unread
        if part is not None:
            parts[index] = part
        progress(min(size, len(images) - index * size))
    in_order = tuple(image for index in sorted(broken) for image in broken[index])
    require_few_broken(in_order, len(images), images.name)
    if not parts:
        raise DataError(
            "EK208", "there is no image to evaluate on", where=images.name, hint="give at least one image with --eval"
        )
    read = tuple(index * size + place for index in sorted(parts) for place in parts[index].read)
    return Evaluated(joined([parts[index].pair for index in sorted(parts)]), read, in_order)


def _evaluate_shard(work: _Work, images: ImageSet) -> tuple[Evaluated | None, tuple[BrokenImage, ...]]:
    first, second = (runner(session(blob, threads=1)) for blob in (work.baseline, work.candidate))
    read: list[int] = []
    with contextlib.closing(batches(images, work.preprocessing, BATCH, work.whole)) as stream:
        try:
            pair = evaluate_pair(first, second, _noting(stream, read))
        except DataError as error:
            if error.code != "EK208":
                raise
            # No image of this shard can be read: that alone is no fault where the set is large.
            return None, stream.broken
        return Evaluated(pair, tuple(read), stream.broken), stream.broken


def _noting(stream: Batches, read: list[int]) -> Iterator[Batch]:
    for batch in stream:
        read.extend(batch.indices)
        yield batch
