"""All that one comparison of two models came to: what `--json` prints, a gate judges and a report shows."""

from __future__ import annotations

import dataclasses
from typing import Final

from edgekit.results._drift import Accuracy, Drift, DriftDetail, Verdict
from edgekit.results._findings import Diagnosis
from edgekit.results._gate import GateResult
from edgekit.results._latency import Latency, MachineState, NoiseFloor

COMPARISON_SCHEMA: Final = "edgekit.comparison/1"


@dataclasses.dataclass(frozen=True)
class ComparedModel:
    """One side of a comparison.

    Attributes:
        name: The file as given.
        sha256: Of the `.onnx` file, hexadecimal; where the weights lie beside it, or of a checkpoint, of the ONNX model
            that ran.
        size_bytes: Size of the same, in bytes.
        accuracy: What it reaches on the images.
    """

    name: str
    sha256: str
    size_bytes: int
    accuracy: Accuracy


@dataclasses.dataclass(frozen=True)
class LatencySamples:
    """Every timed frame of both sides, in milliseconds, in the order they were timed."""

    baseline_ms: tuple[float, ...]
    candidate_ms: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A candidate beside its baseline.

    Attributes:
        schema: Version of this format.
        edgekit: Version of edgekit.
        command: The command line.
        baseline: The side that differences are relative to.
        candidate: The side under test.
        images: What they were compared on, in words.
        images_sha256: Hash over the images' names and contents; the same only for the same images in the same order.
        class_names: Names of the classes by index; None where they are not known.
        broken: Images that could not be read.
        drift: The few numbers.
        detail: What lies behind them.
        latency: Time per frame of both in turns; None where it was not timed.
        samples: The frames behind `latency`.
        noise: What the machine measures between the baseline and itself; None where that was not timed.
        machine: What the machine was doing meanwhile.
        diagnosis: Where the loss comes from; None where that was not asked for.
        verdict: Against the largest drop allowed.
        gate: Of `edgekit gate`; None elsewhere.
        notes: What a reader must know.
    """

    schema: str
    edgekit: str
    command: str
    baseline: ComparedModel
    candidate: ComparedModel
    images: str
    images_sha256: str
    class_names: tuple[str, ...] | None
    broken: int
    drift: Drift
    detail: DriftDetail
    latency: Latency | None
    samples: LatencySamples | None
    noise: NoiseFloor | None
    machine: MachineState
    diagnosis: Diagnosis | None
    verdict: Verdict
    gate: GateResult | None
    notes: tuple[str, ...]
