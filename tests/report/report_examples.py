"""A report as `edgekit export --quantize static` writes it, for the tests of this folder."""

from __future__ import annotations

from edgekit.report import (
    SCHEMA,
    DataSection,
    DataSource,
    DriftSection,
    Environment,
    LatencySection,
    ModelFile,
    ModelSection,
    NoteLine,
    PlannedChange,
    PlannedRewrite,
    PlanSection,
    QuantizationSection,
    Report,
    Specification,
    Verification,
)
from edgekit.results import Accuracy, Drift, Latency, Percentiles
from edgekit.spec import Interval, LayerDecision, ModelSpec, Precision

DRIFT = Drift(
    top1_delta_pp=Interval(-0.3, -0.92, 0.31),
    agreement=Interval(98.4, 97.42, 99.01),
    kl=Interval(0.0021, 0.0018, 0.0025),
    sqnr_db=Interval(28.14, 27.8, 28.45),
    n=1000,
)
LATENCY = Latency(
    baseline_ms=Percentiles(7.012, 7.4, 9.1),
    candidate_ms=Percentiles(0.8, 0.95, 1.2),
    speedup=Interval(8.765, 8.5, 8.91),
    threads=2,
    runtime="onnxruntime 1.31.1",
    frames=200,
)
LAYERS = (
    LayerDecision("stem/Conv", "Conv", Precision.INT8, "has an integer kernel"),
    LayerDecision("block1/HardSigmoid", "HardSigmoid", Precision.FLOAT, "onnxruntime has no integer kernel for it"),
    LayerDecision("block2/HardSigmoid", "HardSigmoid", Precision.FLOAT, "onnxruntime has no integer kernel for it"),
    LayerDecision("block2/Mul", "Mul", Precision.FLOAT, "stands between two float nodes"),
)


def example() -> Report:
    """Return a report with every part filled in."""
    return Report(
        schema=SCHEMA,
        edgekit="0.1.0",
        command="edgekit export --quantize static",
        model=ModelSection(
            source="cifar10.safetensors",
            sha256="a" * 64,
            architecture="mobilenet_v2",
            spec=Specification.of(ModelSpec("mobilenet_v2", width=0.5, num_classes=10, input_size=32, stem_stride=1)),
            input_size=32,
            num_classes=10,
            opset=17,
        ),
        target="jetson-orin-nano",
        plan=PlanSection(
            jetpack="6.1 to 6.2.1",
            tensorrt="10.3",
            precision="int8",
            typing="weak",
            workspace_mib=2048,
            rewrites=(PlannedRewrite(name="fix_batch", why="an engine for one frame at a time needs no profile"),),
            changes=(PlannedChange(code="EKT103", what="opset 21 was asked for: 20 is planned"),),
            cautions=("the operators and the newest opset of TensorRT 10.3",),
        ),
        fp32=ModelFile.of(
            "model.fp32.onnx", sha256="b" * 64, size_bytes=3_412_345, accuracy=Accuracy(91.2, 99.7, 1000)
        ),
        int8=ModelFile.of("model.int8.onnx", sha256="c" * 64, size_bytes=951_000, accuracy=Accuracy(90.9, 99.6, 1000)),
        drift=DriftSection.of(DRIFT),
        latency=LatencySection.of(LATENCY),
        quantization=QuantizationSection.of(
            "static",
            method="percentile",
            calibration_images=["train/cat/0001.jpg", "train/dog/0002.jpg"],
            excluded_from_evaluation=0,
            layers=LAYERS,
        ),
        data=DataSection(
            calibration=DataSource(path="calibration", n=2, broken=0),
            evaluation=DataSource(path="evaluation", n=1000, broken=1),
        ),
        verification=Verification(max_abs_difference=2.4e-6, images=8, tolerance=1e-3),
        notes=(NoteLine(source="fold", text="18 batch normalisations folded into convolutions"),),
        environment=Environment(
            python="3.11.7",
            torch="2.13.0+cpu",
            onnx="1.23.2",
            onnxruntime="1.31.1",
            numpy=None,
            cpu="A CPU",
            cpu_int8=("avx512_vnni",),
            cores=2,
            os="Linux",
        ),
    )
