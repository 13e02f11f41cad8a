"""The data model of `report.json`, version edgekit.report/1; `docs/report.md` explains it to its readers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final, Literal

from pydantic import Field, model_validator

from edgekit.report._plan_section import PlanSection
from edgekit.report._section import Count, Milliseconds, Percent, Positive, Section, Sha256
from edgekit.results import Accuracy, Drift, Latency, ModelLatency, Percentiles
from edgekit.spec import Interval, LayerDecision, ModelSpec, Precision, Rung

SCHEMA: Final = "edgekit.report/1"


class Estimate(Section):
    """A measured value with its 95 % confidence interval."""

    value: float = Field(description="The estimate.")
    low: float = Field(description="Lower end of the 95 % confidence interval.")
    high: float = Field(description="Upper end of the 95 % confidence interval.")

    @model_validator(mode="after")
    def _ordered(self) -> Estimate:
        if not self.low <= self.value <= self.high:
            raise ValueError("the value lies outside its interval")
        return self

    @classmethod
    def of(cls, interval: Interval) -> Estimate:
        """Return the same numbers."""
        return cls(value=interval.value, low=interval.low, high=interval.high)

    def interval(self) -> Interval:
        """Return the same numbers as the type that the stages share."""
        return Interval(self.value, self.low, self.high)


class Specification(Section):
    """How to build the model; the fields of `edgekit.spec.ModelSpec`."""

    architecture: str = Field(description="Name of the architecture, as `edgekit models` lists it.")
    width: float = Field(gt=0, description="Width multiplier.")
    num_classes: Positive = Field(description="Number of logits.")
    input_size: Positive = Field(description="Height and width of the input, in pixels.")
    padding: Literal["torch", "tf_same"] = Field(description="How strided convolutions are padded.")
    bn_eps: float | None = Field(description="Epsilon of batch normalisation; null: the architecture's own.")
    stem_stride: Positive = Field(description="Stride of the first convolution.")
    output_stride: Positive | None = Field(
        description="Input size over the size of the last feature map; null: all strides of the architecture."
    )
    activation: Literal["relu6", "relu"] = Field(description="MobileNetV1: non-linearity after each convolution.")
    conv_bias: bool = Field(description="MobileNetV1: whether convolutions have biases of their own.")
    channels: tuple[Positive, ...] | None = Field(
        description="Channels that pruning left in each layer that chooses them; null: as architecture and width give."
    )

    @classmethod
    def of(cls, spec: ModelSpec) -> Specification:
        """Return the same facts."""
        return cls(**dataclasses.asdict(spec))


class ModelSection(Section):
    """The model that was exported."""

    source: str = Field(description="The file as given, or the name of a model that edgekit knows.")
    sha256: Sha256 | None = Field(description="SHA-256 of the source file, hexadecimal; null without a file.")
    architecture: str | None = Field(description="Name of the architecture; null where it is not known.")
    spec: Specification | None = Field(description="How the model was built; null for an .onnx file.")
    input_size: Positive = Field(description="Height and width of the input, in pixels.")
    num_classes: Positive = Field(description="Number of logits.")
    opset: Positive = Field(description="Opset of the default ONNX domain in the files written.")


class ModelFile(Section):
    """One ONNX file written, and its accuracy on the evaluation images."""

    path: str = Field(description="Path relative to the folder of the report.")
    sha256: Sha256 = Field(description="SHA-256 of the file, hexadecimal.")
    size_bytes: Count = Field(description="Size of the file, in bytes.")
    top1: Percent | None = Field(description="Top-1 accuracy, in percent; null without labels.")
    top5: Percent | None = Field(
        description="Top-5 accuracy, in percent; null without labels and with five classes or fewer."
    )
    n: Count = Field(description="Number of images evaluated.")

    @classmethod
    def of(cls, path: str, *, sha256: str, size_bytes: int, accuracy: Accuracy | None) -> ModelFile:
        """Join the facts of a file with its accuracy; None when it was not evaluated."""
        found = accuracy or Accuracy(None, None, 0)
        return cls(path=path, sha256=sha256, size_bytes=size_bytes, top1=found.top1, top5=found.top5, n=found.n)


class DriftSection(Section):
    """How far int8 moved from FP32 on the evaluation images."""

    top1_delta_pp: Estimate | None = Field(
        description="Top-1 of int8 minus top-1 of FP32, in percentage points (Tango's score interval); "
        "null without labels."
    )
    agreement: Estimate = Field(
        description="Percent of the images with the same top class in both (Wilson's interval)."
    )
    kl: Estimate = Field(
        description="Mean over the images of KL(FP32 || int8) of softmax, in nats (BCa bootstrap interval)."
    )
    sqnr_db: Estimate = Field(
        description="10 log10(sum of squared FP32 logits / sum of squared differences), in dB, bounded to "
        "-150..150; 150 means identical (BCa bootstrap interval)."
    )

    @classmethod
    def of(cls, drift: Drift) -> DriftSection:
        """Return the same numbers."""
        delta = drift.top1_delta_pp
        return cls(
            top1_delta_pp=None if delta is None else Estimate.of(delta),
            agreement=Estimate.of(drift.agreement),
            kl=Estimate.of(drift.kl),
            sqnr_db=Estimate.of(drift.sqnr_db),
        )


class FrameTime(Section):
    """Percentiles of the time of one frame."""

    p50: Milliseconds = Field(description="Median, in milliseconds.")
    p90: Milliseconds = Field(description="90th percentile, in milliseconds.")
    p99: Milliseconds = Field(description="99th percentile, in milliseconds.")

    @classmethod
    def of(cls, percentiles: Percentiles) -> FrameTime:
        """Return the same numbers."""
        return cls(p50=percentiles.p50, p90=percentiles.p90, p99=percentiles.p99)


class LatencySection(Section):
    """Time per frame, batch 1, both models in turns in the same run."""

    fp32_ms: FrameTime = Field(description="FP32, in milliseconds.")
    int8_ms: FrameTime | None = Field(description="int8, in milliseconds; null without an int8 model.")
    speedup: float | None = Field(
        gt=0, description="Median of FP32 over median of int8, a ratio; null without an int8 model."
    )
    speedup_ci: tuple[float, float] | None = Field(
        description="95 % confidence interval of the speed-up (bootstrap over blocks); null as above."
    )
    threads: Positive = Field(description="Threads that one frame may use.")
    runtime: str = Field(description="Name and version of what ran the models.")
    frames: Positive = Field(description="Number of timed frames of each model.")

    @model_validator(mode="after")
    def _both_or_one(self) -> LatencySection:
        if len({value is None for value in (self.int8_ms, self.speedup, self.speedup_ci)}) > 1:
            raise ValueError("int8_ms, speedup and speedup_ci are null together or not at all")
        return self

    @classmethod
    def of(cls, latency: Latency | ModelLatency) -> LatencySection:
        """Return the same numbers; FP32 is the baseline, or the one model that was timed."""
        if isinstance(latency, ModelLatency):
            baseline, candidate, speedup = latency.frame_ms, None, None
        else:
            baseline, candidate, speedup = latency.baseline_ms, latency.candidate_ms, latency.speedup
        return cls(
            fp32_ms=FrameTime.of(baseline),
            int8_ms=None if candidate is None else FrameTime.of(candidate),
            speedup=None if speedup is None else speedup.value,
            speedup_ci=None if speedup is None else (speedup.low, speedup.high),
            threads=latency.threads,
            runtime=latency.runtime,
            frames=latency.frames,
        )


class Layer(Section):
    """What one node computes in, and why."""

    node: str = Field(description="Name of the node in the FP32 graph.")
    op_type: str = Field(description="ONNX operator.")
    precision: Precision = Field(description="What it computes in.")
    reason: str = Field(description="Why.")


class FloatGroup(Section):
    """Nodes that stay in float for the same reason."""

    reason: str = Field(description="Why these nodes stay in float.")
    count: Positive = Field(description="Number of nodes.")
    nodes: tuple[str, ...] = Field(description="Names of the nodes, in graph order.")


class FloatNodes(Section):
    """The nodes that stay in float."""

    count: Count = Field(description="Number of nodes left in float.")
    by_reason: tuple[FloatGroup, ...] = Field(description="The same nodes by reason, the largest group first.")

    @classmethod
    def of(cls, layers: Iterable[LayerDecision]) -> FloatNodes:
        """Group the layers that stay in float by their reason."""
        groups: dict[str, list[str]] = {}
        for layer in layers:
            if layer.precision is Precision.FLOAT:
                groups.setdefault(layer.reason, []).append(layer.node)
        largest_first = sorted(groups.items(), key=lambda group: -len(group[1]))
        return cls(
            count=sum(len(nodes) for nodes in groups.values()),
            by_reason=tuple(
                FloatGroup(reason=reason, count=len(nodes), nodes=tuple(nodes)) for reason, nodes in largest_first
            ),
        )


class RungLine(Section):
    """One rung of the accuracy ladder, measured on calibration images that were held out."""

    name: str = Field(description="Name of the rung.")
    kl: float = Field(ge=0, description="Kullback-Leibler divergence from FP32 with it, in nats.")
    agreement: float = Field(ge=0, le=100, description="Images with the same best class as FP32, in percent.")
    kept: bool = Field(description="Whether it helped, and so stayed.")
    seconds: float = Field(ge=0, description="Time it took.")
    what: str = Field(description="What it changed.")


class QuantizationSection(Section):
    """How the model was quantized, layer by layer."""

    mode: Literal["none", "dynamic", "static", "qat"] = Field(description="What --quantize asked for.")
    method: str | None = Field(description="How ranges were chosen from calibration; null without calibration.")
    calibration_images: tuple[str, ...] = Field(
        description="Identifiers of the images that set the ranges; they were not evaluated."
    )
    excluded_from_evaluation: Count = Field(
        description="Number of evaluation images left out because they were used for calibration."
    )
    flavour: str | None = Field(description="The form of Q/DQ that the target wants; null for FP32.")
    effort: Literal["fast", "balanced", "best"] | None = Field(description="How far up the ladder it could go.")
    rungs: tuple[RungLine, ...] = Field(description="The accuracy ladder, in order; empty where none was climbed.")
    layers: tuple[Layer, ...] = Field(description="Every node that was decided on, in graph order.")
    float_nodes: FloatNodes = Field(description="The layers that stay in float, counted.")

    @classmethod
    def of(
        cls,
        mode: Literal["none", "dynamic", "static", "qat"],
        *,
        method: str | None,
        calibration_images: Iterable[str],
        excluded_from_evaluation: int,
        layers: Iterable[LayerDecision],
        flavour: str | None = None,
        effort: Literal["fast", "balanced", "best"] | None = None,
        rungs: Iterable[Rung] = (),
    ) -> QuantizationSection:
        """Write the decisions down and count those that say float."""
        decisions = tuple(layers)
        return cls(
            mode=mode,
            method=method,
            calibration_images=tuple(calibration_images),
            excluded_from_evaluation=excluded_from_evaluation,
            flavour=flavour,
            effort=effort,
            rungs=tuple(RungLine(**dataclasses.asdict(rung)) for rung in rungs),
            layers=tuple(Layer(**dataclasses.asdict(decision)) for decision in decisions),
            float_nodes=FloatNodes.of(decisions),
        )


class DataSource(Section):
    """A set of images that was read."""

    path: str = Field(description="Folder or archive as given, or the name of the sample that ships.")
    n: Count = Field(description="Number of images used.")
    broken: Count = Field(description="Number of images that could not be read, and were skipped.")


class DataSection(Section):
    """Where the images came from."""

    calibration: DataSource | None = Field(description="Images that set the ranges; null without calibration.")
    evaluation: DataSource | None = Field(description="Images for accuracy and drift; null when not evaluated.")


class Verification(Section):
    """The exported FP32 model against the one that it came from, on real images."""

    max_abs_difference: float = Field(ge=0, description="Largest absolute difference of any logit.")
    images: Positive = Field(description="Number of images compared.")
    tolerance: float = Field(gt=0, description="Largest difference allowed; beyond it the export is refused.")


class NoteLine(Section):
    """What a stage did, for the reader."""

    source: str = Field(description="The stage or pass that says it.")
    text: str = Field(description="What it did.")


class Environment(Section):
    """What the numbers were measured with. Holds neither host name nor path."""

    python: str = Field(description="Version of Python.")
    torch: str | None = Field(description="Version of torch; null where not installed.")
    onnx: str | None = Field(description="Version of onnx; null where not installed.")
    onnxruntime: str | None = Field(description="Version of onnxruntime; null where not installed.")
    numpy: str | None = Field(description="Version of numpy; null where not installed.")
    cpu: str = Field(description="Name of the CPU, or its instruction set where it has no name.")
    cpu_int8: tuple[str, ...] = Field(
        description="Instructions for int8 that the CPU has: avx512_vnni, avx_vnni, amx_int8, dotprod, i8mm."
    )
    cores: Positive = Field(description="Number of cores that the process may use.")
    os: str = Field(description="Operating system, kernel and C library.")


class Report(Section):
    """What `edgekit export` did and what it cost."""

    schema_version: Literal["edgekit.report/1"] = Field(
        alias="schema", description="Version of this format: edgekit.report/1."
    )
    edgekit: str = Field(description="Version of edgekit.")
    command: str = Field(description="The command line.")
    model: ModelSection = Field(description="The model that was exported, and how it was built.")
    target: str = Field(description="Name of the target, as `edgekit targets` lists it.")
    plan: PlanSection | None = Field(description="How it gets onto the target; null where no TensorRT runs.")
    fp32: ModelFile = Field(description="The FP32 model.")
    int8: ModelFile | None = Field(description="The int8 model; null with --quantize none.")
    drift: DriftSection | None = Field(
        description="int8 against FP32; null without an int8 model or without evaluation images."
    )
    latency: LatencySection | None = Field(description="Time per frame; null when not measured.")
    quantization: QuantizationSection = Field(description="How the model was quantized.")
    data: DataSection = Field(description="Where the images came from, and how many were used.")
    verification: Verification | None = Field(
        description="ONNX FP32 against torch; null when the source is an .onnx file."
    )
    notes: tuple[NoteLine, ...] = Field(description="What the stages did, in order.")
    environment: Environment = Field(description="What the numbers were measured with.")

    @model_validator(mode="after")
    def _int8_or_not(self) -> Report:
        timed = self.latency is not None and self.latency.int8_ms is not None
        if self.int8 is None and (self.drift is not None or timed):
            raise ValueError("there is no int8 model, yet drift or latency speak of one")
        return self
