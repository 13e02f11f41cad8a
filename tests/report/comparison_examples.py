"""A comparison as `edgekit validate` makes it, for the tests of this folder."""

from __future__ import annotations

import dataclasses

from report_examples import DRIFT, LATENCY

from edgekit.results import (
    COMPARISON_SCHEMA,
    Accuracy,
    Check,
    ClassChange,
    ComparedModel,
    Comparison,
    Diagnosis,
    DriftDetail,
    Finding,
    Flip,
    GateResult,
    LatencySamples,
    LayerError,
    MachineState,
    NoiseFloor,
    NonInferiority,
    SampleSize,
    Significance,
    Verdict,
)
from edgekit.spec import Interval


def flips(count: int) -> tuple[Flip, ...]:
    """Return so many flips, each less far apart than the one before."""
    return tuple(Flip(f"cat/{index:04}.jpg", index, 0, 0, 1, 0.5 / (index + 1)) for index in range(count))


DETAIL = DriftDetail(
    top5_delta_pp=Interval(-0.1, -0.4, 0.2),
    significance=Significance(4, 7, 0.549, Interval(-0.3, -0.9, 0.3), 0.97, SampleSize(0.5, 3033)),
    non_inferiority=NonInferiority(1.0, 0.0314, True),
    baseline_ece=3.09,
    candidate_ece=2.75,
    worst_kl=0.5,
    worst_kl_image="cat/0000.jpg",
    classes=(
        ClassChange(0, "cat", 500, 90.0, 80.0, 0.0004, True),
        ClassChange(1, "dog", 500, 92.4, 92.0, 1.0, False),
    ),
    flips=flips(13),
)
MACHINE = MachineState("A CPU", 2, "performance", (2400.0, 2390.0), (0.1, 0.9), 0, 0.0, {"onnxruntime": "1.31.1"})
FULL = Comparison(
    schema=COMPARISON_SCHEMA,
    edgekit="0.1.0",
    command="edgekit validate out/model.fp32.onnx out/model.int8.onnx",
    baseline=ComparedModel("out/model.fp32.onnx", "a" * 64, 3_412_345, Accuracy(91.2, 99.7, 1000)),
    candidate=ComparedModel("out/model.int8.onnx", "b" * 64, 951_000, Accuracy(90.9, 99.6, 1000)),
    images="val_images",
    images_sha256="c" * 64,
    class_names=("cat", "dog"),
    broken=1,
    drift=DRIFT,
    detail=DETAIL,
    latency=LATENCY,
    samples=LatencySamples((7.0, 7.1), (0.8, 0.9)),
    noise=NoiseFloor(Interval(1.0, 0.99, 1.01), 0.99, 1.01),
    machine=MACHINE,
    diagnosis=Diagnosis(
        0.002, 32, (LayerError("stem", "Conv", 30.0, 32.0, None),), (Finding("bias-shift", "stem", "a", "b", 40.0),)
    ),
    verdict=Verdict(True, "top-1 accuracy fell by 0.30 points, within the 1 points allowed"),
    gate=GateResult(
        "a", "b", "pass", (Check("max_drop", "pass", 1.0, "points", 0.3, -0.3, 0.9, "why"),), "val_images", ()
    ),
    notes=("1 of 1,001 images could not be read and were left out",),
)
PLAIN = dataclasses.replace(
    FULL,
    class_names=None,
    baseline=dataclasses.replace(FULL.baseline, accuracy=Accuracy(None, None, 1000)),
    candidate=dataclasses.replace(FULL.candidate, accuracy=Accuracy(None, None, 1000)),
    drift=dataclasses.replace(DRIFT, top1_delta_pp=None),
    detail=DriftDetail(None, None, None, None, None, 0.5, "0000.jpg", (), (Flip("0000.jpg", 0, None, 3, 1, 0.5),)),
    latency=None,
    samples=None,
    noise=None,
    diagnosis=None,
    gate=None,
    notes=(),
)
