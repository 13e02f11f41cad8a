"""Measure what a candidate lost and gained against a baseline: accuracy, drift, time per frame, verdict."""

from __future__ import annotations

from edgekit.results import Accuracy, Drift, Latency, ModelLatency, Percentiles, Verdict
from edgekit.validate._accumulate import (
    DriftAccumulator,
    Evaluation,
    EvaluationAccumulator,
    PairedEvaluation,
    drift,
)
from edgekit.validate._bench import Entrant, ModelTiming, Timings, time_models
from edgekit.validate._detail import drift_detail
from edgekit.validate._device import (
    Conditions,
    device_power,
    device_speedup,
    device_times,
    differing_conditions,
    output_drift,
)
from edgekit.validate._evaluate import Batch, evaluate, evaluate_pair
from edgekit.validate._join import joined
from edgekit.validate._layers import tensor_sqnr
from edgekit.validate._machine import MachineWatch, watching_machine
from edgekit.validate._memory import peak_memory
from edgekit.validate._noise import is_different, noise_floor_of
from edgekit.validate._plausible import require_plausible
from edgekit.validate._session import Provider, Runner, runner, session
from edgekit.validate._timing import TimedModel, TimedPair, compare_latency, latency, noise_floor, time_pair
from edgekit.validate._verdict import verdict

__all__ = [
    "Accuracy",
    "Batch",
    "Conditions",
    "Drift",
    "DriftAccumulator",
    "Entrant",
    "Evaluation",
    "EvaluationAccumulator",
    "Latency",
    "MachineWatch",
    "ModelLatency",
    "ModelTiming",
    "PairedEvaluation",
    "Percentiles",
    "Provider",
    "Runner",
    "TimedModel",
    "TimedPair",
    "Timings",
    "Verdict",
    "compare_latency",
    "device_power",
    "device_speedup",
    "device_times",
    "differing_conditions",
    "drift",
    "drift_detail",
    "evaluate",
    "evaluate_pair",
    "is_different",
    "joined",
    "latency",
    "noise_floor",
    "noise_floor_of",
    "output_drift",
    "peak_memory",
    "require_plausible",
    "runner",
    "session",
    "tensor_sqnr",
    "time_models",
    "time_pair",
    "verdict",
    "watching_machine",
]
