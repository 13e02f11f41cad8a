"""What a device measured. Nothing here runs."""

from __future__ import annotations

import dataclasses

from edgekit.results._latency import Percentiles


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
