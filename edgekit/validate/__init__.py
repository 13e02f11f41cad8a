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
from edgekit.validate._session import Runner, runner, session
from edgekit.validate._timing import TimedModel, compare_latency, latency
from edgekit.validate._verdict import verdict

__all__ = [
    "Accuracy",
    "Batch",
    "Conditions",
    "Drift",
    "DriftAccumulator",
    "Evaluation",
    "EvaluationAccumulator",
    "Latency",
    "ModelLatency",
    "PairedEvaluation",
    "Percentiles",
    "Runner",
    "TimedModel",
    "Verdict",
    "compare_latency",
    "device_power",
    "device_speedup",
    "device_times",
    "differing_conditions",
    "drift",
    "evaluate",
    "evaluate_pair",
    "joined",
    "latency",
    "output_drift",
    "runner",
    "session",
    "tensor_sqnr",
    "verdict",
]
