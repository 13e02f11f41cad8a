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


@dataclasses.dataclass(frozen=True)
class OutputDrift:
    """How far the logits of a device are from others for the same samples.

    Attributes:
        drift: Agreement, KL and SQNR; a bundle's samples have no labels.
        max_abs_difference: Largest absolute difference of any logit.
    """

    drift: Drift
    max_abs_difference: float


@dataclasses.dataclass(frozen=True)
class RunTimes:
    """Time per frame on a device.

    Attributes:
        frame_ms: Percentiles over the frames of all runs, in milliseconds.
        run_medians_ms: The median of each run, in milliseconds.
        spread_percent: Largest minus smallest of those medians, in percent of p50; None after a single run.
    """

    frame_ms: Percentiles
    run_medians_ms: tuple[float, ...]
    spread_percent: float | None


@dataclasses.dataclass(frozen=True)
class DeviceTimes:
    """The timing runs of a device.

    Attributes:
        compute: The network alone.
        end_to_end: With the copies to and from the GPU.
        frames: Number of timed frames of all runs.
    """

    compute: RunTimes
    end_to_end: RunTimes
    frames: int


@dataclasses.dataclass(frozen=True)
class RunRatio:
    """Baseline's median time over the candidate's: above 1 the candidate is faster.

    Attributes:
        value: Of all runs together.
        low: Of the fastest run of the baseline and the slowest of the candidate.
        high: Of the slowest run of the baseline and the fastest of the candidate.
    """

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class DeviceSpeedup:
    """How much faster one engine is than another on the same device."""

    compute: RunRatio
    end_to_end: RunRatio


@dataclasses.dataclass(frozen=True)
class DevicePower:
    """What a power sensor read beside the timing runs.

    Attributes:
        rail: Name of the rail that it measures; empty where the board gives it none.
        whole_module: The rail's name says that it is the input of the whole module.
        mean_w: Mean of the readings, in watts.
        low_w: Smallest reading.
        high_w: Largest reading.
        readings: Number of readings.
        energy_mj: Mean power times the median time of a frame end to end, in millijoules.
    """

    rail: str
    whole_module: bool
    mean_w: float
    low_w: float
    high_w: float
    readings: int
    energy_mj: float
