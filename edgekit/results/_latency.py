"""Time per frame. Nothing here runs."""

from __future__ import annotations

import dataclasses
from typing import Final

from edgekit.spec import Interval

BENCH_SCHEMA: Final = "edgekit.bench/1"


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
class NoiseFloor:
    """What this machine measures between a model and itself, timed as two models are.

    Attributes:
        ratio: Ratio of the medians of the two halves of an A/A run, with its interval; 1 on a perfect machine.
        low: Smallest ratio that is noise.
        high: Largest ratio that is noise: a ratio between the two is "no difference measured".
    """

    ratio: Interval
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class BatchThroughput:
    """Images a second at one batch size; `batch_ms` is the time of one batch in milliseconds."""

    batch: int
    batch_ms: Percentiles
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """Frames run before the first timed one; `steady` where they were seen to get no faster, within the limit."""

    frames: int
    steady: bool


@dataclasses.dataclass(frozen=True)
class BenchedModel:
    """One model of a bench run.

    Attributes:
        name: The file as given.
        runtime: Name and version of what ran it, with its provider.
        threads: Threads that one frame may use.
        size_bytes: Size of the file that ran, in bytes.
        input_size: Height and width of its images, in pixels.
        warm_up: Frames run before the first timed one, and whether they were seen to be steady.
        frame_ms: Percentiles over the timed frames at batch 1, in milliseconds.
        samples_ms: Those frames, in milliseconds, in the order they were timed.
        throughput: By batch size, without those that the model does not take; empty where only batch 1 was timed.
        peak_memory_bytes: Largest resident memory of a process that loads and runs it alone, less that of one that
            loads the runtime alone; None where it was not measured.
        speedup: Median of the first model over this one's; None for the first.
        different: The speed-up is more than noise: outside the noise floor, and 1 outside its interval. None for the
            first.
    """

    name: str
    runtime: str
    threads: int
    size_bytes: int
    input_size: int
    warm_up: WarmUp
    frame_ms: Percentiles
    samples_ms: tuple[float, ...]
    throughput: tuple[BatchThroughput, ...]
    peak_memory_bytes: int | None
    speedup: Interval | None
    different: bool | None


@dataclasses.dataclass(frozen=True)
class MachineState:
    """What the machine was doing while it timed; None where the system does not tell.

    Attributes:
        cpu: Name of the CPU.
        cores: Cores that the process may use.
        governor: Frequency governor.
        frequency_mhz: Current frequency before and after, in MHz.
        load_average: Of the last minute, before and after.
        throttled: Times a core or package was slowed for heat while timing, of the one that was so most often.
        steal_percent: Share of CPU time that the hypervisor gave to others while timing.
        versions: Version of each library that counts, by name.
    """

    cpu: str
    cores: int
    governor: str | None
    frequency_mhz: tuple[float, float] | None
    load_average: tuple[float, float] | None
    throttled: int | None
    steal_percent: float | None
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Models timed in turns in one process, beside the machine's own noise.

    Attributes:
        schema: Version of this format.
        edgekit: Version of edgekit.
        command: The command line.
        models: In the order they were named; speed-ups are relative to the first.
        noise: What the machine measures between the first model and itself.
        machine: What the machine was doing meanwhile.
        notes: What a reader must know.
    """

    schema: str
    edgekit: str
    command: str
    models: tuple[BenchedModel, ...]
    noise: NoiseFloor
    machine: MachineState
    notes: tuple[str, ...]
