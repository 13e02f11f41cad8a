"""What a gate judges by: counts, sizes and ratios, whether both models ran or one is a committed baseline."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from edgekit.results import SQNR_LIMIT_DB, Comparison, LatencySamples, NoiseFloor
from edgekit.spec import Interval
from edgekit.validate._statistics import ratio_of_percentiles

# Frames near one another in time are alike, so that stretches of them are resampled and not single frames.
_FRAMES_OF_A_STRETCH: Final = 10
_SAME: Final = Interval(1.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What was measured of a candidate beside a baseline.

    Attributes:
        identical: Both are the same model: the same file, or the same logits on every image.
        images: Images that both answered.
        gained: Images that the candidate alone gets right; None without labels.
        lost: Images that the baseline alone gets right; None without labels.
        agreeing: Images that both answer alike.
        baseline_bytes: Size of the baseline.
        candidate_bytes: Size of the candidate.
        speedup: Median time of the baseline over that of the candidate; None where it was not timed.
        p99_ratio: 99th percentile of time of the candidate over that of the baseline; None where it was not timed.
        noise: What the machine measures between a model and itself; None where it was not timed.
    """

    identical: bool
    images: int
    gained: int | None
    lost: int | None
    agreeing: int
    baseline_bytes: int
    candidate_bytes: int
    speedup: Interval | None = None
    p99_ratio: Interval | None = None
    noise: NoiseFloor | None = None


def evidence_of(comparison: Comparison) -> Evidence:
    """Return what a gate judges by out of all that a comparison came to."""
    drift, significance = comparison.drift, comparison.detail.significance
    # A file written twice may differ in its metadata alone; the same logits to the last bit are the same model.
    identical = comparison.baseline.sha256 == comparison.candidate.sha256 or drift.sqnr_db.value >= SQNR_LIMIT_DB
    speedup = None if comparison.latency is None else comparison.latency.speedup
    p99_ratio = None if comparison.samples is None else ratio_of_p99(comparison.samples)
    return Evidence(
        identical=identical,
        images=drift.n,
        gained=None if significance is None else significance.gained,
        lost=None if significance is None else significance.lost,
        agreeing=round(drift.agreement.value * drift.n / 100),
        baseline_bytes=comparison.baseline.size_bytes,
        candidate_bytes=comparison.candidate.size_bytes,
        # One model is as fast as itself, whatever the machine did meanwhile.
        speedup=_SAME if identical and speedup is not None else speedup,
        p99_ratio=_SAME if identical and p99_ratio is not None else p99_ratio,
        noise=comparison.noise,
    )


def ratio_of_p99(samples: LatencySamples) -> Interval:
    """Return the candidate's 99th percentile over the baseline's, with its 95 % bootstrap interval."""
    frames = min(len(samples.baseline_ms), len(samples.candidate_ms))
    stretches = max(1, frames // _FRAMES_OF_A_STRETCH)
    used = stretches * (frames // stretches)
    baseline, candidate = (
        np.array(times[:used], dtype=np.float64).reshape(stretches, -1)
        for times in (samples.baseline_ms, samples.candidate_ms)
    )
    return ratio_of_percentiles(candidate, baseline, 99)
