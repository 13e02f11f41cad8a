"""Evaluation of two models by shards."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from edgekit.data import Batch, Batches, BrokenImage, ImageSet, batches, require_few_broken
from edgekit.errors import DataError
from edgekit.pipeline.cluster._shards import SHARD, places
from edgekit.pipeline.cluster._workers import Workers
from edgekit.pipeline.measuring import BATCH, EvaluatedPair, StartProgress, silent
from edgekit.spec import Preprocessing
from edgekit.validate import PairedEvaluation, evaluate_pair, joined, runner, session


@dataclasses.dataclass(frozen=True)
class _Work:
    """What every shard needs to know; `whole` is the number of images of the set."""

    baseline: bytes
    candidate: bytes
    preprocessing: Preprocessing
    whole: int


@dataclasses.dataclass(frozen=True)
class _Part:
    """What two models did on a shard: None where none of it could be read; then which were, and which were not."""

    pair: PairedEvaluation | None
    read: tuple[int, ...]
    broken: tuple[BrokenImage, ...]


def evaluate_shards(
    workers: Workers,
    baseline: bytes,
    candidate: bytes,
    images: ImageSet,
    preprocessing: Preprocessing,
    progress: StartProgress = silent,
    *,
    size: int = SHARD,
) -> EvaluatedPair:
    """Run two models over the same images, shard by shard; the rows are in the order of the set.

    Args:
        workers: Who does it.
        baseline: An ONNX model.
        candidate: The same, of the model under test.
        images: The images; every worker finds them under the same path.
        preprocessing: What the models expect.
        progress: Starts a progress bar.
        size: Images of a shard at most, a multiple of `BATCH`. Where an image cannot be read, the batches after it are
            other ones for other sizes, and logits may differ in their last bit.

    Raises:
        EdgekitError: EK2xx for the images, EK601 and EK602 when the models cannot be compared, EK02x for the cluster.
    """
    work = _Work(baseline, candidate, preprocessing, len(images))
    advance = progress("evaluating", len(images))
    done: dict[int, _Part] = {}
    pieces = list(places(images, size, batch=BATCH))
    for index, part in workers.run(_evaluate_shard, work, map(images.select, pieces)):
        done[index] = part
        advance(len(part.read) + len(part.broken))
    parts = [done[index] for index in sorted(done)]
    require_few_broken([image for part in parts for image in part.broken], len(images), images.name)
    pairs = [part.pair for part in parts if part.pair is not None]
    if not pairs:
        raise DataError(
            "EK208", "there is no image to evaluate on", where=images.name, hint="give at least one image with --eval"
        )
    read = [piece[place] for piece, part in zip(pieces, parts, strict=True) for place in part.read]
    return EvaluatedPair(joined(pairs), images.select(read))


def _evaluate_shard(work: _Work, images: ImageSet) -> _Part:
    first, second = (runner(session(blob, threads=1)) for blob in (work.baseline, work.candidate))
    read: list[int] = []
    with contextlib.closing(batches(images, work.preprocessing, BATCH, work.whole)) as stream:
        try:
            pair = evaluate_pair(first, second, _noting(stream, read))
        except DataError as error:
            if error.code != "EK208":
                raise
            # No image of this shard can be read: that alone is no fault where the set is large.
            return _Part(None, (), stream.broken)
        return _Part(pair, tuple(read), stream.broken)


def _noting(stream: Batches, read: list[int]) -> Iterator[Batch]:
    for batch in stream:
        read.extend(batch.indices)
        yield batch
