"""The answer of a device to a bundle: `result.json`, which run.sh or runner.py wrote. It is a file of strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekit.errors import TargetError
from edgekit.files import first_fault, read_at_most

RESULT: Final = "result.json"
LARGEST_RESULT: Final = 128 << 20
_MOST_RUNS, _MOST_TIMES, _MOST_SAMPLES, _MOST_CLASSES = 100, 1_000_000, 10_000, 100_000

Sha256: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text: TypeAlias = Annotated[str, Field(max_length=300)]
# Bounds beyond anything real, so that what is computed of the numbers stays finite.
Amount: TypeAlias = Annotated[float, Field(ge=0, le=1e9)]
Whole: TypeAlias = Annotated[int, Field(ge=0, le=1 << 50)]
Milliseconds: TypeAlias = Annotated[float, Field(ge=1e-6, le=1e9)]
Logit: TypeAlias = Annotated[float, Field(ge=-3.5e38, le=3.5e38)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class AnsweredDevice(_Part):
    """The device and its software; None is what it could not tell.

    Attributes:
        model: Name of the board.
        l4t: Version of Jetson Linux.
        tensorrt: Version of TensorRT.
        cuda: Version of CUDA.
        nvpmodel: Power mode.
        clocks: Clocks by name, as they were last read.
        compute_capability: CUDA compute capability, e.g. `8.7`.
    """

    model: Text | None
    l4t: Text | None
    tensorrt: Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,6}){1,3}$")]
    cuda: Text | None
    nvpmodel: Text | None
    clocks: dict[Text, Whole] = Field(max_length=32)
    compute_capability: Text | None


class AnsweredEngine(_Part):
    """The engine that was run.

    Attributes:
        file: Name of its file.
        sha256: Its hash.
        size_bytes: Its size.
        build_seconds: Time of its build; None when one that was there already was used.
    """

    file: Text
    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=1, le=1 << 50)]
    build_seconds: Amount | None


class TimingSettings(_Part):
    """How the engine was timed; the programs pin what versions of trtexec do differently."""

    warmup_ms: Amount
    duration_s: Amount
    runs: Whole
    cuda_graph: bool
    spin_wait: bool
    data_transfers: bool


# Up to millions: a slotted dataclass takes a fraction of a model's memory. trtexec's further fields are left out.
@pydantic.dataclasses.dataclass(frozen=True, slots=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class FrameTime:
    """One timed inference, in milliseconds: its computation alone, and with its transfers."""

    computeMs: Milliseconds  # noqa: N815 - trtexec's own name
    latencyMs: Milliseconds  # noqa: N815


class TimedRun(_Part):
    """One timing run, without its warm-up."""

    times: tuple[FrameTime, ...] = Field(min_length=1, max_length=_MOST_TIMES)


class PowerReadings(_Part):
    """What a power sensor of the board said twice a second beside the timing runs, in `unit`."""

    source: Text
    unit: Literal["mW"]
    samples: tuple[Amount, ...] = Field(min_length=1, max_length=_MOST_TIMES)


class Answer(_Part):
    """What a device answered.

    Attributes:
        schema_version: Version of the format.
        bundle: Hash of the `bundle.json` that it answers.
        tool: Program that timed the engine.
        device: The device and its software.
        engine: The engine that was run.
        settings: How it was timed.
        runs: The timing runs; none when only the samples were run.
        layers: What TensorRT says of its layers, in a form that differs between versions.
        outputs: The logits of each sample, by its name; None for a value that is not finite.
        power: Readings of a power sensor; None where there is none to read.
    """

    schema_version: Literal[1] = Field(alias="schema")
    bundle: Sha256
    tool: Literal["trtexec", "runner.py"]
    device: AnsweredDevice
    engine: AnsweredEngine
    settings: TimingSettings
    runs: tuple[TimedRun, ...] = Field(max_length=_MOST_RUNS)
    layers: Any
    outputs: dict[Text, Annotated[tuple[Logit | None, ...], Field(max_length=_MOST_CLASSES)]] = Field(
        min_length=1, max_length=_MOST_SAMPLES
    )
    power: PowerReadings | None

    @model_validator(mode="after")
    def _whole(self) -> Answer:
        if len(self.runs) != self.settings.runs:
            raise ValueError(f"settings speak of {self.settings.runs} runs and there are {len(self.runs)}")
        if self.power is not None and not self.runs:
            raise ValueError("power was read though nothing was timed")
        return self


def read_answer(path: Path) -> Answer:
    """Read the `result.json` of a device.

    Raises:
        TargetError: EK720 when it is missing, too large, not what a device answers, or of another version.
    """
    try:
        content = read_at_most(path, LARGEST_RESULT)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if content is None:
        raise _unreadable(path, f"it is larger than {LARGEST_RESULT >> 20} MiB; time for less long")
    try:
        return Answer.model_validate_json(content)
    except ValidationError as error:
        raise _unreadable(path, first_fault(error)) from error


def _unreadable(path: Path, what: str) -> TargetError:
    return TargetError(
        "EK720",
        f"not an answer of a device that this edgekit reads ({what})",
        where=str(path),
        hint="give the result.json that run.sh or runner.py of a bundle wrote",
    )
