"""Two comparisons for the tests of what shows one: everything measured, and nothing that is optional."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import binomtest

from edgekit.results import (
    COMPARISON_SCHEMA,
    NO_LIMIT,
    Accuracy,
    Check,
    ClassChange,
    ComparedModel,
    Comparison,
    Diagnosis,
    Drift,
    DriftDetail,
    Finding,
    Flip,
    GateResult,
    Latency,
    LatencySamples,
    LayerError,
    MachineState,
    NoiseFloor,
    NonInferiority,
    Percentiles,
    Significance,
    Verdict,
)
from edgekit.spec import Interval

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES = 1000

# Label, baseline's answer, candidate's answer and KL of the images that flipped.
_ANSWERS = (
    (3, 3, 5, 1.214),
    (5, 5, 3, 0.981),
    (3, 3, 5, 0.874),
    (2, 2, 4, 0.762),
    (4, 7, 4, 0.655),
    (3, 3, 6, 0.612),
    (3, 3, 1, 0.587),
    (0, 0, 8, 0.541),
    (3, 3, 5, 0.498),
    (5, 3, 5, 0.433),
    (2, 2, 0, 0.402),
    (7, 7, 5, 0.388),
    (3, 3, 2, 0.351),
    (8, 0, 8, 0.322),
    (3, 5, 2, 0.307),
    (6, 6, 3, 0.289),
    (1, 1, 9, 0.254),
    (3, 3, 5, 0.231),
    (4, 4, 2, 0.204),
    (5, 3, 5, 0.187),
    (0, 0, 2, 0.152),
    (3, 3, 5, 0.139),
    (7, 4, 7, 0.117),
    (3, 3, 4, 0.094),
    (9, 1, 8, 0.081),
    (2, 6, 2, 0.063),
)


def full() -> Comparison:
    """Return a comparison with every part measured, diagnosed and judged."""
    return Comparison(
        schema=COMPARISON_SCHEMA,
        edgekit="0.1.0",
        command="edgekit gate model.fp32.onnx model.int8.onnx --max-drop 0.5 --min-speedup 2 --html report.html",
        baseline=ComparedModel("out/model.fp32.onnx", "3b" * 32, 9_034_112, Accuracy(93.1, 99.8, IMAGES)),
        candidate=ComparedModel("out/model.int8.onnx", "c4" * 32, 2_451_908, Accuracy(91.9, 99.7, IMAGES)),
        images="evaluation.zip",
        images_sha256="7e" * 32,
        class_names=CLASS_NAMES,
        broken=1,
        drift=Drift(
            top1_delta_pp=Interval(-1.2, -2.14, -0.26),
            agreement=Interval(97.4, 96.22, 98.22),
            kl=Interval(0.0214, 0.0171, 0.0268),
            sqnr_db=Interval(21.7, 21.2, 22.1),
            n=IMAGES,
        ),
        detail=DriftDetail(
            top5_delta_pp=Interval(-0.1, -0.49, 0.24),
            significance=Significance(
                gained=6, lost=18, p_value=0.0227, bootstrap_pp=Interval(-1.2, -2.1, -0.3), detectable_drop_pp=1.4
            ),
            non_inferiority=NonInferiority(margin_pp=0.5, p_value=0.938, shown=False),
            baseline_ece=2.31,
            candidate_ece=3.04,
            worst_kl=1.214,
            worst_kl_image="cat/0004.png",
            classes=_classes(),
            flips=flips(),
        ),
        latency=Latency(
            baseline_ms=_percentiles(_samples().baseline_ms),
            candidate_ms=_percentiles(_samples().candidate_ms),
            speedup=Interval(2.501, 2.481, 2.522),
            threads=2,
            runtime="onnxruntime 1.31.1",
            frames=400,
        ),
        samples=_samples(),
        noise=NoiseFloor(Interval(1.004, 0.991, 1.016), 0.978, 1.023),
        machine=MachineState(
            cpu="Intel(R) Xeon(R) CPU @ 2.80GHz",
            cores=2,
            governor="performance",
            frequency_mhz=(2800.0, 2793.5),
            load_average=(0.42, 0.97),
            throttled=0,
            steal_percent=0.3,
            versions={"onnxruntime": "1.31.1", "numpy": "2.4.6", "python": "3.11.7"},
        ),
        diagnosis=Diagnosis(kl=0.0214, images=64, layers=layers(), findings=_findings()),
        verdict=Verdict(
            False,
            "top-1 accuracy fell by 1.20 points (95 % interval of the loss 0.26 to 2.14), more than the 0.5 points "
            "allowed",
        ),
        gate=_gate(),
        notes=("the candidate has no class names: those of the baseline are shown",),
    )


def bare() -> Comparison:
    """Return a comparison without labels, class names, time, diagnosis and gate, on a machine that tells nothing."""
    return Comparison(
        schema=COMPARISON_SCHEMA,
        edgekit="0.1.0",
        command="edgekit validate a.onnx b.onnx --eval photos --html report.html",
        baseline=ComparedModel("a.onnx", "0a" * 32, 512_000, Accuracy(None, None, 40)),
        candidate=ComparedModel("b.onnx", "0b" * 32, 512_000, Accuracy(None, None, 40)),
        images="photos",
        images_sha256="1f" * 32,
        class_names=None,
        broken=0,
        drift=Drift(
            top1_delta_pp=None,
            agreement=Interval(100.0, 91.24, 100.0),
            kl=Interval(0.0, 0.0, 0.0),
            sqnr_db=Interval(150.0, 150.0, 150.0),
            n=40,
        ),
        detail=DriftDetail(
            top5_delta_pp=None,
            significance=None,
            non_inferiority=None,
            baseline_ece=None,
            candidate_ece=None,
            worst_kl=0.0,
            worst_kl_image="IMG_0001.jpg",
            classes=(),
            flips=(),
        ),
        latency=None,
        samples=None,
        noise=None,
        machine=MachineState(
            cpu="aarch64",
            cores=4,
            governor=None,
            frequency_mhz=None,
            load_average=None,
            throttled=None,
            steal_percent=None,
            versions={},
        ),
        diagnosis=None,
        verdict=Verdict(True, NO_LIMIT),
        gate=None,
        notes=(),
    )


def flips() -> tuple[Flip, ...]:
    """Return the images that flipped, as the full comparison has them."""
    return tuple(
        Flip(f"{CLASS_NAMES[label]}/{place * 4:04}.png", place * 4, label, baseline, candidate, kl)
        for place, (label, baseline, candidate, kl) in enumerate(_ANSWERS, start=1)
    )


def layers() -> tuple[LayerError, ...]:
    """Return the errors of a MobileNetV2's layers: they add up towards the end, and one depthwise layer stands out."""
    random = np.random.default_rng(6)
    found = [LayerError("/features/features.0/features.0.0/Conv", "Conv", 41.3, 41.3, 0.0209)]
    for block, part in itertools.product(range(1, 18), range(3)):
        outlier = block == 2 and part == 1
        own = 9.8 if outlier else 38.0 + float(random.normal(0, 2.5)) - 4 * (part == 1)
        carried = min(own, max(18.0, 36.0 - 0.9 * block) - (6.0 if block > 2 else 0.0) + float(random.normal(0, 0.8)))
        restored = 0.0071 if outlier else 0.0214 - abs(float(random.normal(0, 0.0004)))
        name = f"/features/features.{block}/conv/conv.{part}/Conv"
        found.append(LayerError(name, "Conv", round(carried, 2), round(own, 2), restored))
    return (*found, LayerError("/classifier/classifier.1/Gemm", "Gemm", 21.7, 35.9, None))


def _classes() -> tuple[ClassChange, ...]:
    right = (94, 97, 91, 87, 93, 89, 95, 94, 96, 95)
    return tuple(_class(index, before) for index, before in enumerate(right))


def _class(index: int, right: int) -> ClassChange:
    own = [flip for flip in flips() if flip.label == index]
    gained = sum(flip.candidate == index for flip in own)
    lost = sum(flip.baseline == index for flip in own)
    p_value = min(1.0, float(binomtest(gained, gained + lost).pvalue) * len(CLASS_NAMES)) if gained + lost else 1.0
    return ClassChange(index, CLASS_NAMES[index], 100, right, right + gained - lost, p_value, p_value < 0.05)


def _samples() -> LatencySamples:
    """Return skewed times with a slow tail, as a machine that others use gives them."""
    random = np.random.default_rng(9)

    def times(median: float) -> tuple[float, ...]:
        usual = median * (0.985 + random.gamma(2.0, 0.011, 400))
        late = random.random(400) < 0.03
        return tuple(float(value) for value in np.where(late, usual * (1.1 + 0.4 * random.random(400)), usual))

    return LatencySamples(times(7.0), times(2.8))


def _percentiles(times: tuple[float, ...]) -> Percentiles:
    p50, p90, p99 = (float(value) for value in np.percentile(times, (50, 90, 99)))
    return Percentiles(p50, p90, p99)


def _findings() -> tuple[Finding, ...]:
    return (
        Finding(
            cause="outlier-channel",
            layer="/features/features.2/conv/conv.1/Conv",
            evidence="channel 17 spans 41 times the median of the other channels, and takes 246 of the 255 steps",
            fix="edgekit export --effort balanced scales the channel down (rung equalize)",
            share=66.8,
        ),
        Finding(
            cause="preprocessing-mismatch",
            layer="",
            evidence="the mean of the calibration images is 0.31 of a standard deviation from that of these images",
            fix="give --calibration images that went through the same camera and crop",
            share=None,
        ),
    )


def _gate() -> GateResult:
    return GateResult(
        baseline="out/model.fp32.onnx",
        candidate="out/model.int8.onnx",
        outcome="fail",
        checks=(
            Check("max_drop", "fail", 0.5, "points", 1.2, 0.26, 2.14, "the drop is above the limit"),
            Check("min_agreement", "inconclusive", 97.0, "percent", 97.4, 96.22, 98.22, "the interval holds the limit"),
            Check("max_size", "pass", 3_000_000.0, "bytes", 2_451_908.0, 2_451_908.0, 2_451_908.0, "it is smaller"),
            Check("min_speedup", "pass", 2.0, "ratio", 2.505, 2.481, 2.532, "the whole interval is above the limit"),
        ),
        images="evaluation.zip",
        notes=("committed baseline of edgekit 0.1.0",),
    )
