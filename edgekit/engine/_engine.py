"""The engine that a device built: where it came from, and whether it is the one that was asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.engine._answer import RESULT, Answer, AnsweredDevice, Sha256, Text, read_answer
from edgekit.engine._bundle import MANIFEST
from edgekit.errors import TargetError
from edgekit.files import first_fault, sha256_of

ENGINE_FILE: Final = "model.engine"
ENGINE_MANIFEST: Final = "engine.json"
_LARGEST_MANIFEST: Final = 1 << 20


@dataclasses.dataclass(frozen=True)
class Platform:
    """What an engine depends on; None is what is not known, and differs from nothing.

    Attributes:
        tensorrt: Version of TensorRT.
        compute_capability: CUDA compute capability, e.g. `8.7`.
        board: Name of the board.
    """

    tensorrt: str
    compute_capability: str | None = None
    board: str | None = None


class EngineManifest(BaseModel):
    """What `engine.json` says of the engine beside it; run.sh and runner.py write it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(alias="schema")
    model: Sha256
    precision: Text
    typing: Text
    workspace_mib: Annotated[int, Field(ge=0)]
    compute_capability: Text | None = None
    tensorrt: Text
    device: Text
    engine: Sha256

    @property
    def platform(self) -> Platform:
        """What it was made on."""
        board = None if self.device == "unknown" else self.device
        return Platform(self.tensorrt, self.compute_capability, board)


def platform_of(device: AnsweredDevice) -> Platform:
    """Return what an engine on a device depends on."""
    return Platform(device.tensorrt, device.compute_capability, device.model)


def differences(made: Platform, found: Platform) -> tuple[str, ...]:
    """Say what keeps an engine that was made on one platform from running on another; empty when nothing does.

    A version that says less (10.3) is the same as one that says more (10.3.0).
    """
    told = []
    pairs = zip(made.tensorrt.split("."), found.tensorrt.split("."), strict=False)
    if any(one != other for one, other in pairs):
        told.append(f"TensorRT is {found.tensorrt} and not {made.tensorrt}")
    for name in ("compute_capability", "board"):
        one, other = getattr(made, name), getattr(found, name)
        if one is not None and other is not None and one != other:
            told.append(f"{name.replace('_', ' ')} is {other} and not {one}")
    return tuple(told)


def check_built(folder: Path) -> Answer:
    """Check that the answer in a bundle's folder answers this bundle, with the engine that lies beside it.

    Returns:
        The answer.

    Raises:
        TargetError: EK709 when the engine was made elsewhere, EK717 when the engine or its manifest is not the one
            of the answer, EK720 when there is no answer, EK722 when it answers another bundle.
    """
    result, engine = folder / RESULT, folder / ENGINE_FILE
    answer = read_answer(result)
    if answer.bundle != sha256_of(folder / MANIFEST):
        raise TargetError("EK722", "the device answers another bundle than it got", where=RESULT, hint="build again")
    manifest = _read_manifest(folder / ENGINE_MANIFEST)
    if not engine.is_file() or {answer.engine.sha256, manifest.engine} != {sha256_of(engine)}:
        raise _unfitting(ENGINE_FILE, "it is not the engine that the device speaks of")
    if differing := differences(manifest.platform, platform_of(answer.device)):
        raise TargetError(
            "EK709",
            f"the engine was made elsewhere: {', '.join(differing)}",
            where=ENGINE_MANIFEST,
            hint="build it again on the device that is to run it",
        )
    return answer


def _read_manifest(path: Path) -> EngineManifest:
    try:
        with path.open("rb") as stream:
            return EngineManifest.model_validate_json(stream.read(_LARGEST_MANIFEST))
    except OSError as error:
        raise _unfitting(path.name, error.strerror or str(error)) from error
    except ValidationError as error:
        raise _unfitting(path.name, first_fault(error)) from error


def _unfitting(where: str, what: str) -> TargetError:
    return TargetError("EK717", what, where=where, hint="build again; nothing of this answer was kept")
