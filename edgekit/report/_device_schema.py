"""The data model of the report on a device's answer, version edgekit.device-report/1."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from edgekit.report._plan_section import PlanSection
from edgekit.report._schema import Environment, Estimate, FrameTime, NoteLine
from edgekit.report._section import Count, Milliseconds, Positive, Section, Sha256
from edgekit.results import DevicePower, DeviceSpeedup, DeviceTimes, OutputDrift, RunRatio, RunTimes, Verdict

DEVICE_SCHEMA: Final = "edgekit.device-report/1"


class VerdictSection(Section):
    """Whether the device stays within the limit that was given."""

    passed: bool = Field(description="Whether it does; true without a limit.")
    reason: str = Field(description="Why.")

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictSection:
        """Return the same facts."""
        return cls(passed=verdict.passed, reason=verdict.reason)


class BoardSection(Section):
    """The device and its software; null is what it could not tell."""

    model: str | None = Field(description="Name of the board; null on x86.")
    compute_capability: str | None = Field(description="CUDA compute capability.")
    l4t: str | None = Field(description="Version of Jetson Linux.")
    tensorrt: str = Field(description="Version of TensorRT.")
    cuda: str | None = Field(description="Version of CUDA.")
    nvpmodel: str | None = Field(description="Power mode.")
    clocks: dict[str, Count] = Field(description="Clocks by name, as they were last read while it was timed.")


class EngineSection(Section):
    """An engine as a device ran it."""

    sha256: Sha256 = Field(description="SHA-256 of the engine, hexadecimal.")
    size_bytes: Positive = Field(description="Size of the engine, in bytes.")
    build_seconds: float | None = Field(
        ge=0, description="Time of its build, in seconds; null when an engine that was there already was used."
    )


class SettingsSection(Section):
    """How the engine was timed."""

    warmup_ms: Milliseconds = Field(description="Warm-up before the timed frames, in milliseconds; it is not counted.")
    duration_s: float = Field(ge=0, description="Length of a run, in seconds.")
    runs: Count = Field(description="Number of runs.")
    cuda_graph: bool = Field(description="Whether the inference was launched as one CUDA graph.")
    spin_wait: bool = Field(description="Whether the CPU waited by spinning.")
    data_transfers: bool = Field(description="Whether the copies to and from the GPU were done and timed.")


class OutputSection(Section):
    """How far the device's logits are from others for the same samples."""

    agreement: Estimate = Field(description="Percent of the samples with the same top class (Wilson's interval).")
    kl: Estimate = Field(
        description="Mean over the samples of KL(other || device) of softmax, in nats (BCa bootstrap)."
    )
    sqnr_db: Estimate = Field(
        description="10 log10(sum of squared other logits / sum of squared differences), in dB, bounded to -150..150; "
        "150 means identical (BCa bootstrap)."
    )
    max_abs_difference: float = Field(ge=0, description="Largest absolute difference of any logit.")

    @classmethod
    def of(cls, found: OutputDrift) -> OutputSection:
        """Return the same numbers."""
        moved = found.drift
        return cls(
            agreement=Estimate.of(moved.agreement),
            kl=Estimate.of(moved.kl),
            sqnr_db=Estimate.of(moved.sqnr_db),
            max_abs_difference=found.max_abs_difference,
        )


class RunTimesSection(Section):
    """Time per frame."""

    frame_ms: FrameTime = Field(description="Percentiles over the frames of all runs.")
    run_medians_ms: tuple[Milliseconds, ...] = Field(description="Median of each run, in milliseconds.")
    spread_percent: float | None = Field(
        ge=0, description="Largest minus smallest median of a run, in percent of p50; null after a single run."
    )

    @classmethod
    def of(cls, times: RunTimes) -> RunTimesSection:
        """Return the same numbers."""
        return cls(
            frame_ms=FrameTime.of(times.frame_ms),
            run_medians_ms=times.run_medians_ms,
            spread_percent=times.spread_percent,
        )


class TimesSection(Section):
    """Time per frame on the device, batch 1, warm-up left out."""

    compute: RunTimesSection = Field(description="The network alone.")
    end_to_end: RunTimesSection = Field(description="With the copies to and from the GPU.")
    frames: Positive = Field(description="Number of timed frames of all runs.")

    @classmethod
    def of(cls, times: DeviceTimes) -> TimesSection:
        """Return the same numbers."""
        return cls(
            compute=RunTimesSection.of(times.compute),
            end_to_end=RunTimesSection.of(times.end_to_end),
            frames=times.frames,
        )


class PowerSection(Section):
    """What a power sensor of the board read beside the timing runs."""

    rail: str = Field(description="Name of the rail measured; empty where the board gives it none.")
    whole_module: bool = Field(description="Whether the rail's name says that it feeds the whole module.")
    mean_w: float = Field(ge=0, description="Mean of the readings, in watts.")
    low_w: float = Field(ge=0, description="Smallest reading, in watts.")
    high_w: float = Field(ge=0, description="Largest reading, in watts.")
    readings: Positive = Field(description="Number of readings, two a second.")
    energy_mj: float = Field(
        ge=0, description="Energy of a frame, in millijoules: mean power times the median time end to end."
    )
    assumed: str = Field(description="What that takes for granted.")

    @classmethod
    def of(cls, power: DevicePower, assumed: str) -> PowerSection:
        """Return the same numbers."""
        return cls(**dataclasses.asdict(power), assumed=assumed)


class RatioSection(Section):
    """Baseline's median time over this one's; above 1 this engine is faster."""

    value: float = Field(gt=0, description="Of all runs together.")
    low: float = Field(gt=0, description="Fastest run of the baseline over the slowest of this one.")
    high: float = Field(gt=0, description="Slowest run of the baseline over the fastest of this one.")

    @classmethod
    def of(cls, ratio: RunRatio) -> RatioSection:
        """Return the same numbers."""
        return cls(value=ratio.value, low=ratio.low, high=ratio.high)


class SpeedupSection(Section):
    """How much faster this engine is than the baseline's on the same device."""

    compute: RatioSection = Field(description="The network alone.")
    end_to_end: RatioSection = Field(description="With the copies to and from the GPU.")

    @classmethod
    def of(cls, speedup: DeviceSpeedup) -> SpeedupSection:
        """Return the same numbers."""
        return cls(compute=RatioSection.of(speedup.compute), end_to_end=RatioSection.of(speedup.end_to_end))


class BaselineSection(Section):
    """What the device is compared with."""

    source: str = Field(description="The baseline as it was named.")
    is_result: bool = Field(description="Whether it is a device's answer; else it is a model that ran on this CPU.")
    precision: Literal["int8", "fp16", "fp32"] | None = Field(
        description="What its engine computes in; null for a model."
    )
    times: TimesSection | None = Field(
        description="Its time per frame; null for a model, whose time on this CPU says nothing about a device."
    )
    power: PowerSection | None = Field(description="Its power; null where none was read, and for a model.")
    engine: EngineSection | None = Field(description="Its engine; null for a model.")
    speedup: SpeedupSection | None = Field(
        description="How much faster the candidate is; null where the times cannot be compared."
    )
    differences: tuple[str, ...] = Field(description="What keeps the times from being compared.")


class DeviceReport(Section):
    """What a device answered to a bundle, beside a baseline."""

    schema_version: Literal["edgekit.device-report/1"] = Field(
        alias="schema", description="Version of this format: edgekit.device-report/1."
    )
    edgekit: str = Field(description="Version of edgekit.")
    command: str = Field(description="The command line.")
    source: str = Field(description="The answer as it was named.")
    bundle: Sha256 = Field(description="SHA-256 of the bundle.json that was answered, hexadecimal.")
    target: str = Field(description="Name of the target that the bundle is for.")
    plan: PlanSection = Field(description="How the model gets onto the target.")
    tool: Literal["trtexec", "runner.py"] = Field(description="Program that timed the engine.")
    device: BoardSection = Field(description="The device and its software.")
    engine: EngineSection = Field(description="The engine that ran.")
    settings: SettingsSection = Field(description="How it was timed.")
    samples: Positive = Field(description="Number of samples whose outputs were compared.")
    against_file: OutputSection = Field(
        description="The device against the same ONNX file in onnxruntime on the CPU that made the bundle."
    )
    against_baseline: OutputSection = Field(description="The device against the baseline.")
    times: TimesSection | None = Field(description="Time per frame; null when only the samples were run.")
    power: PowerSection | None = Field(description="Power and energy; null where no sensor could be read.")
    baseline: BaselineSection = Field(description="What it is compared with.")
    verdict: VerdictSection = Field(description="Whether the drift from the baseline is within the limit.")
    notes: tuple[NoteLine, ...] = Field(description="What a reader must know of the numbers.")
    environment: Environment = Field(description="This machine, where the baseline ran.")

    @model_validator(mode="after")
    def _power_with_times(self) -> DeviceReport:
        if self.power is not None and self.times is None:
            raise ValueError("there is power without times")
        return self


def device_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the report, as in `docs/device-report.schema.json`."""
    schema = DeviceReport.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
