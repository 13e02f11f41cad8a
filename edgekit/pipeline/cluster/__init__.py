"""Work that is cut into pieces: done here one after another, or by the workers of a Ray cluster, to the same bytes."""

from __future__ import annotations

from edgekit.pipeline.cluster._calibration import collect_shards
from edgekit.pipeline.cluster._ray import ray_workers
from edgekit.pipeline.cluster._shards import SHARD, places, shards
from edgekit.pipeline.cluster._validation import evaluate_shards
from edgekit.pipeline.cluster._workers import HERE, Workers

__all__ = [
    "HERE",
    "SHARD",
    "Workers",
    "collect_shards",
    "evaluate_shards",
    "places",
    "ray_workers",
    "shards",
]
