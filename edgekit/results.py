"""Plain frozen results of a comparison: `validate` measures them, `report` writes them. Nothing here runs."""

from __future__ import annotations

import dataclasses
from typing import Final

from edgekit.spec import Interval

SQNR_LIMIT_DB: Final = 150.0
"""Bound of every SQNR, in dB. float32 resolves 2**-24, about 145 dB: beyond it two models are the same, and
the ratio of two identical models, which is infinite, would not fit into JSON."""


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Share of images that a model classifies as their label says.

    Attributes:
        top1: Percent whose label has the highest logit; None without labels.
        top5: Percent whose label is among the five highest; None without labels and with five classes or
            fewer.
        n: Number of images.
    """

    top1: float | None
    top5: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class Drift:
    """How far a candidate moved from its baseline, each with its 95 % confidence interval.

    Attributes:
        top1_delta_pp: Top-1 of the candidate minus top-1 of the baseline, in percentage points; None without
            labels.
        agreement: Percent of the images on which both give the same top class.
        kl: Mean over the images of KL(softmax of baseline || softmax of candidate), in nats.
        sqnr_db: 10 log10(sum of squared baseline logits / sum of squared differences), in dB,
            within ±`SQNR_LIMIT_DB`: at the limit the two are identical.
        n: Number of images.
    """

    top1_delta_pp: Interval | None
    agreement: Interval
    kl: Interval
    sqnr_db: Interval
    n: int


@dataclasses.dataclass(frozen=True)
class Percentiles:
    """Median and tail of the time of one frame, in milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclasses.dataclass(frozen=True)
class ModelLatency:
    """Time per frame of one model.

    Attributes:
        frame_ms: Percentiles over the timed frames, in milliseconds.
        threads: Threads that one frame may use.
        runtime: Name and version of what ran the model.
        frames: Number of timed frames.
    """

    frame_ms: Percentiles
    threads: int
    runtime: str
    frames: int


@dataclasses.dataclass(frozen=True)
class Latency:
    """Time per frame of two models, interleaved in one run.

    Attributes:
        baseline_ms: Percentiles of the baseline, in milliseconds.
        candidate_ms: Percentiles of the candidate, in milliseconds.
        speedup: Median of the baseline over median of the candidate: above 1 the candidate is faster.
        threads: Threads that one frame may use.
        runtime: Name and version of what ran the models.
        frames: Number of timed frames of each model.
    """

    baseline_ms: Percentiles
    candidate_ms: Percentiles
    speedup: Interval
    threads: int
    runtime: str
    frames: int


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a candidate stays within the limit that it was given, and why."""

    passed: bool
    reason: str
