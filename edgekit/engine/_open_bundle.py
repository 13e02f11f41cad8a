"""Reading a bundle again, to see what a device made of it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from edgekit.engine._answer import Answer, Logit, Sha256
from edgekit.engine._bundle import MANIFEST
from edgekit.errors import ModelError, TargetError
from edgekit.files import sha256_of
from edgekit.spec import Preprocessing
from edgekit.targets import BuildPlan

_LARGEST_JSON: Final = 64 << 20
# Names that a bundle has; nothing that leads out of its folder.
_INSIDE: Final = re.compile(r"(sample/)?\w[\w.-]*")
_SampleName = Annotated[str, Field(pattern=r"^\d{3,6}$")]
Floats = npt.NDArray[np.float32]
Content = TypeVar("Content")


@dataclasses.dataclass(frozen=True)
class OpenBundle:
    """A bundle that was read and is whole.

    Attributes:
        folder: Where it lies.
        sha256: Hash of its `bundle.json`, which holds the hashes of the rest.
        plan: How its model gets onto the target.
        preprocessing: How images became its samples.
        names: Name of each sample.
        samples: Preprocessed images, float32 (N, 3, H, W).
        expected: The logits of the model in it on the CPU that made it, float32 (N, classes).
    """

    folder: Path
    sha256: str
    plan: BuildPlan
    preprocessing: Preprocessing
    names: tuple[str, ...]
    samples: Floats
    expected: Floats


class _Tensor(BaseModel):
    model_config = ConfigDict(strict=True)

    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=2, max_length=4)


class _Manifest(BaseModel):
    """What the host needs of `bundle.json`."""

    model_config = ConfigDict(strict=True)

    schema_version: Literal[1] = Field(alias="schema")
    input: _Tensor
    output: _Tensor
    samples: tuple[_SampleName, ...] = Field(min_length=1)
    files: dict[str, Sha256]


_PLAN: Final = TypeAdapter(BuildPlan)
_EXPECTED: Final[TypeAdapter[dict[str, tuple[Logit, ...]]]] = TypeAdapter(dict[str, tuple[Logit, ...]])


def bundle_of(answer: Answer, folders: Sequence[Path], *, where: str) -> OpenBundle:
    """Open the bundle that a device answered.

    Args:
        answer: What the device answered.
        folders: Where the bundle may lie; its hash decides.
        where: The answer's file, for errors.

    Raises:
        TargetError: EK711 when a file of the bundle is missing or changed, EK721 when there is no bundle, EK722 when
            the answer is to another one.
    """
    present = [folder for folder in folders if (folder / MANIFEST).is_file()]
    if not present:
        raise TargetError(
            "EK721",
            f"there is no {MANIFEST} in {' or '.join(str(folder) or '.' for folder in folders)}",
            where=where,
            hint="put the file back into the bundle that it answers, or name the bundle with --bundle DIR",
        )
    for folder in present:
        if sha256_of(folder / MANIFEST) == answer.bundle:
            return open_bundle(folder)
    raise TargetError(
        "EK722",
        f"it answers another bundle than the one in {' or '.join(str(folder) or '.' for folder in present)}",
        where=where,
        hint="name the bundle that was copied to the device with --bundle DIR; a bundle made again with other samples, "
        "model or target is another one",
    )


def open_bundle(folder: Path) -> OpenBundle:
    """Read a bundle; raises TargetError EK711 when it is not whole."""
    manifest = _parsed(folder / MANIFEST, _Manifest.model_validate_json)
    for name, digest in manifest.files.items():
        if not _INSIDE.fullmatch(name) or not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise _changed(folder / name, "it is missing or is not the file that the bundle was made with")
    expected = _parsed(folder / "sample" / "expected.json", _EXPECTED.validate_json)
    images = [_sample(folder / "sample" / f"{name}.bin", manifest.input.shape) for name in manifest.samples]
    logits = [expected.get(name, ()) for name in manifest.samples]
    if any(len(values) != math.prod(manifest.output.shape) for values in logits):
        raise _changed(folder / "sample" / "expected.json", "it does not have the logits of every sample")
    return OpenBundle(
        folder,
        sha256_of(folder / MANIFEST),
        _plan(folder / "plan.json"),
        _preprocessing(folder / "preprocessing.json"),
        manifest.samples,
        np.concatenate(images),
        np.array(logits, np.float32),
    )


def outputs_of(answer: Answer, bundle: OpenBundle, *, where: str) -> npt.NDArray[np.float64]:
    """Return the logits of the device for the samples of the bundle, (N, classes), in its order.

    Raises:
        TargetError: EK723 when the outputs do not fit the samples, EK724 when one is NaN or infinite.
    """
    if sorted(answer.outputs) != sorted(bundle.names):
        raise _unfitting(f"it has outputs of {len(answer.outputs)} samples, the bundle {len(bundle.names)}", where)
    classes = bundle.expected.shape[1]
    rows = [answer.outputs[name] for name in bundle.names]
    for name, row in zip(bundle.names, rows, strict=True):
        if len(row) != classes:
            raise _unfitting(f"sample {name} has {len(row)} outputs and the model {classes}", where)
        if None in row:
            raise TargetError(
                "EK724",
                f"the device computed NaN or infinity for sample {name}",
                where=where,
                hint="FP16 ends at 65504: look for an overflow with a bundle in FP32, or quantize the model",
            )
    return np.array(rows, np.float64)


def _sample(path: Path, shape: tuple[int, ...]) -> Floats:
    try:
        if path.stat().st_size != 4 * math.prod(shape):
            raise _changed(path, f"it does not hold an input of {'x'.join(map(str, shape))}")
        return np.fromfile(path, "<f4").reshape(shape).astype(np.float32, copy=False)
    except OSError as error:
        raise _changed(path, error.strerror or str(error)) from error


def _plan(path: Path) -> BuildPlan:
    plan = _parsed(path, _PLAN.validate_json)
    if plan.typing is None or plan.workspace_mib is None or plan.workspace_mib < 1:
        raise _changed(path, "it is not the plan of a target with TensorRT")
    return plan


def _preprocessing(path: Path) -> Preprocessing:
    try:
        return Preprocessing.from_json(path.read_text(encoding="utf-8"), where=str(path))
    except ModelError as error:
        raise _changed(path, error.what) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _changed(path, "it cannot be read") from error


def _parsed(path: Path, parse: Callable[[bytes], Content]) -> Content:
    """Return what a JSON file of the bundle says; pydantic's errors are ValueErrors."""
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise _changed(path, f"it is larger than {_LARGEST_JSON >> 20} MiB")
        return parse(path.read_bytes())
    except OSError as error:
        raise _changed(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _changed(path, " ".join(str(error).split("\n")[:3])) from error


def _changed(path: Path, what: str) -> TargetError:
    return TargetError("EK711", what, where=str(path), hint="make the bundle again, or copy it whole")


def _unfitting(what: str, where: str) -> TargetError:
    return TargetError(
        "EK723", what, where=where, hint="run the bundle on the device again, and bring its result.json unchanged"
    )
