"""Target cards: files of `engines/` that say what a device can do, each fact with its source."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekit.errors import TargetError, UsageError
from edgekit.files import read_toml
from edgekit.shipped import shipped

Value = TypeVar("Value")
Kind = TypeVar("Kind", bound=BaseModel)
# `measured`: by edgekit's own tests; `read`: in the source; `secondary`: the source copies another; `unverified`:
# nobody has checked it.
Confidence = Literal["measured", "read", "secondary", "unverified"]
FOLDER, RELEASES = "engines", "tensorrt/releases.toml"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fact(_Strict, Generic[Value]):
    """One thing known of a device, with the key of its source in the card's `sources`."""

    value: Value
    source: str
    confidence: Confidence


class Facts(_Strict):
    """What the hardware has; None where nothing is stated.

    Attributes:
        compute_capability: CUDA compute capability, e.g. `8.7`.
        memory_gb: Memory in GB, shared with the CPU on a Jetson.
        bandwidth_gb_s: Memory bandwidth in GB/s.
        peak_fp16_tflops: Vendor's peak in FP16, in TFLOPS (dense).
        peak_int8_tops: Vendor's peak in INT8, in TOPS.
        peak_int8_is_sparse: The INT8 peak counts 2:4 sparse weights, so half of it is what dense ones can reach.
        int8: TensorRT (or the CPU's runtime) has INT8 kernels for it.
        fp16: The same for FP16.
        fp8: The same for FP8.
        sparsity_2_4: 2:4 sparse weights run faster.
        dla_cores: Deep-learning accelerators beside the GPU.
    """

    compute_capability: Fact[str] | None = None
    memory_gb: Fact[float] | None = None
    bandwidth_gb_s: Fact[float] | None = None
    peak_fp16_tflops: Fact[float] | None = None
    peak_int8_tops: Fact[float] | None = None
    peak_int8_is_sparse: Fact[bool] | None = None
    int8: Fact[bool]
    fp16: Fact[bool]
    fp8: Fact[bool]
    sparsity_2_4: Fact[bool]
    dla_cores: Fact[int]


class Release(_Strict):
    """What one release of TensorRT reads and how it is driven.

    Attributes:
        version: Its first numbers, e.g. `8.2`.
        newest_opset: Newest ONNX opset that edgekit writes for it.
        missing_operators: ONNX operators that its parser lacks, of those that MobileNets use.
        native_int64: INT64 tensors stay INT64; otherwise they are cast to INT32 and clamped.
        typing: `weak`: flags choose the precision; `strong`: the ONNX file does.
        float_weights: Q/DQ weights must be float32 before their own Q.
        portability: Where an engine runs besides the device that built it.
        source: Key of `sources` in the releases file.
        confidence: How sure the facts are.
    """

    version: str
    newest_opset: int = Field(ge=7)
    missing_operators: tuple[str, ...]
    native_int64: bool
    typing: Literal["weak", "strong"]
    float_weights: bool
    portability: str
    source: str
    confidence: Confidence

    @property
    def source_text(self) -> str:
        """Where its facts come from."""
        return _release_list().sources[self.source]


class Stack(_Strict):
    """One generation of software for a device: what JetPack installs together.

    Attributes:
        jetpack: Versions of JetPack; empty on x86.
        l4t: Versions of Jetson Linux.
        cuda: Version of CUDA.
        cudnn: Version of cuDNN.
        tensorrt: Version of TensorRT.
        python: Version of the system's Python, the only one that TensorRT's own binding is for.
        container: Image that brings the same, if one is known.
        container_source: Key of the image's source.
        source: Key of the source of the rest.
        confidence: How sure the rest is.
    """

    jetpack: str = ""
    l4t: str = ""
    cuda: str = ""
    cudnn: str = ""
    tensorrt: str
    python: str = ""
    container: str = ""
    container_source: str = ""
    source: str
    confidence: Confidence

    @property
    def release(self) -> Release:
        """The release of TensorRT that it has."""
        return release(self.tensorrt)


class Card(_Strict):
    """A target: its hardware, and the software generations there are for it, the newest last."""

    # It stands in file names and in a shell script on the device.
    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]*$")
    title: str
    kind: Literal["jetson", "gpu", "cpu"]
    facts: Facts
    stacks: tuple[Stack, ...] = ()
    sources: dict[str, str]

    @model_validator(mode="after")
    def _complete(self) -> Card:
        used = {fact.source for _, fact in self.facts if fact is not None}
        for stack in self.stacks:
            used |= {stack.source} | ({stack.container_source} if stack.container else set())
        for missing in sorted(used - self.sources.keys()):
            raise ValueError(f"the source {missing!r} is not in [sources]")
        for unused in sorted(self.sources.keys() - used):
            raise ValueError(f"no fact names the source {unused!r}")
        if (self.kind == "cpu") == bool(self.stacks):
            raise ValueError("a card of a GPU has [[stacks]], and one of a CPU has none")
        return self

    @property
    def is_gpu(self) -> bool:
        """Whether TensorRT runs on it."""
        return self.kind != "cpu"


def names() -> tuple[str, ...]:
    """Return the names of the cards that ship, sorted."""
    return tuple(sorted(path.stem for path in shipped(FOLDER).glob("*.toml")))


def load_card(name: str) -> Card:
    """Return the card of a target, by name or as the path of a `.toml` file of the user's own.

    Raises:
        UsageError: EK002 when there is none.
        TargetError: EK701 when it is not a card.
    """
    if name.endswith(".toml"):
        return read_card(Path(name))
    if name not in names():
        raise UsageError(
            "EK002",
            f"there is no target {name!r}",
            where="--target",
            hint=f"take one of {', '.join(names())}, or the path of a card of your own",
        )
    return read_card(shipped(FOLDER) / f"{name}.toml")


def read_card(path: Path) -> Card:
    """Read a card; raises UsageError EK002 when there is no such file, TargetError EK701 with the field."""
    return _validated(Card, path, "compare it with engines/README.md")


def release(version: str) -> Release:
    """Return what is known of a version of TensorRT: the newest release in the list that is not newer.

    Raises:
        TargetError: EK701 when it is older than all, or its list is damaged.
    """
    wanted = numbers(version)
    known = [entry for entry in _release_list().releases if numbers(entry.version) <= wanted]
    if not known:
        raise TargetError(
            "EK701", f"TensorRT {version} is older than any that is known", where=RELEASES, hint="take 8.0 or newer"
        )
    return max(known, key=lambda entry: numbers(entry.version))


class _ReleaseList(_Strict):
    releases: tuple[Release, ...]
    sources: dict[str, str]

    @model_validator(mode="after")
    def _complete(self) -> _ReleaseList:
        for entry in self.releases:
            if entry.source not in self.sources:
                raise ValueError(f"the source {entry.source!r} is not in [sources]")
        return self


@functools.cache
def _release_list() -> _ReleaseList:
    return _validated(_ReleaseList, shipped(FOLDER) / RELEASES, "install edgekit again")


def numbers(version: str) -> tuple[int, ...]:
    """Return `8.2.1` as numbers that compare as versions do."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _read(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    try:
        return read_toml(path)
    except OSError as error:
        raise UsageError(
            "EK002",
            f"the card cannot be read ({error.strerror})",
            where=str(path),
            hint="see edgekit targets for the cards that ship",
        ) from error
    except ValueError as error:
        raise TargetError("EK701", f"not a TOML file: {error}", where=str(path), hint="mend the line") from error


def _validated(kind: type[Kind], path: Path, hint: str) -> Kind:
    try:
        return kind.model_validate(_read(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        what = f"{field}: {first['msg']}" if field else first["msg"]
        raise TargetError("EK701", what, where=str(path), hint=hint) from error
