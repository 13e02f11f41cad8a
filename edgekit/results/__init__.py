"""Plain frozen results of a comparison: `validate` measures them, `report` writes them. Nothing here runs."""

from __future__ import annotations

from edgekit.results._comparison import (
    COMPARISON_SCHEMA,
    ComparedModel,
    Comparison,
    LatencySamples,
)
from edgekit.results._device import (
    DevicePower,
    DeviceSpeedup,
    DeviceTimes,
    RunRatio,
    RunTimes,
)
from edgekit.results._drift import (
    NO_LIMIT,
    SQNR_LIMIT_DB,
    Accuracy,
    ClassChange,
    Drift,
    DriftDetail,
    Flip,
    NonInferiority,
    OutputDrift,
    SampleSize,
    Significance,
    Verdict,
)
from edgekit.results._findings import (
    Cause,
    Diagnosis,
    Finding,
    LayerError,
)
from edgekit.results._gate import Check, GateResult, Outcome
from edgekit.results._latency import (
    BENCH_SCHEMA,
    BatchThroughput,
    Bench,
    BenchedModel,
    Latency,
    MachineState,
    ModelLatency,
    NoiseFloor,
    Percentiles,
    WarmUp,
)

__all__ = [
    "BENCH_SCHEMA",
    "COMPARISON_SCHEMA",
    "NO_LIMIT",
    "SQNR_LIMIT_DB",
    "Accuracy",
    "BatchThroughput",
    "Bench",
    "BenchedModel",
    "Cause",
    "Check",
    "ClassChange",
    "ComparedModel",
    "Comparison",
    "DevicePower",
    "DeviceSpeedup",
    "DeviceTimes",
    "Diagnosis",
    "Drift",
    "DriftDetail",
    "Finding",
    "Flip",
    "GateResult",
    "Latency",
    "LatencySamples",
    "LayerError",
    "MachineState",
    "ModelLatency",
    "NoiseFloor",
    "NonInferiority",
    "Outcome",
    "OutputDrift",
    "Percentiles",
    "RunRatio",
    "RunTimes",
    "SampleSize",
    "Significance",
    "Verdict",
    "WarmUp",
]
