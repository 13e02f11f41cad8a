"""A bundle: one folder with everything that builds, times and checks an engine on the device it is for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgekit.engine._folder import replacing_folder
from edgekit.spec import Preprocessing
from edgekit.targets import BuildPlan

SCHEMA = 1
MANIFEST, SUMS = "bundle.json", "SHA256SUMS"
PROGRAMS = ("run.sh", "runner.py")
DEVICE = Path(__file__).parent / "device"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What a bundle is made of.

    Attributes:
        model: The lowered model, for a batch of one.
        plan: How it gets onto the target.
        preprocessing: How images become its input.
        class_names: Names of its classes; None where they are not known.
        samples: Preprocessed images, float32 (N, 3, H, W).
        expected: Its logits for them, float32 (N, classes).
        edgekit: Version of edgekit.
    """

    model: onnx.ModelProto
    plan: BuildPlan
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    samples: npt.NDArray[np.float32]
    expected: npt.NDArray[np.float32]
    edgekit: str


def write_bundle(bundle: Bundle, folder: Path) -> tuple[str, ...]:
    """Write a bundle, whole or not at all; the same content gives the same bytes.

    Args:
        bundle: Its content.
        folder: Where to: a new or empty folder, or one with an earlier bundle, which is replaced.

    Returns:
        The names of its files, sorted.

    Raises:
        UsageError: EK003 when the folder holds something else, or cannot be written.
    """
    files = _files(bundle)
    files[MANIFEST] = _json(_manifest(bundle, files))
    files["bundle.env"] = _environment(bundle).encode()
    files[SUMS] = "".join(f"{_digest(files[name])}  {name}\n" for name in sorted(files)).encode()
    with replacing_folder(folder, mark=MANIFEST, kind="a bundle", option="--bundle") as staging:
        for name, content in files.items():
            path = staging / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if name in PROGRAMS else 0o644)
    return tuple(sorted(files))


def _files(bundle: Bundle) -> dict[str, bytes]:
    files = {name: (DEVICE / name).read_bytes() for name in PROGRAMS}
    files["model.onnx"] = bundle.model.SerializeToString(deterministic=True)
    files["preprocessing.json"] = (bundle.preprocessing.to_json() + "\n").encode()
    files["plan.json"] = _json(dataclasses.asdict(bundle.plan))
    if bundle.class_names is not None:
        # One name a line, whatever letters strangers put into it.
        lines = ("".join(letter if letter.isprintable() else "?" for letter in name) for name in bundle.class_names)
        files["classes.txt"] = "".join(f"{line}\n" for line in lines).encode()
    for name, image in zip(_sample_names(bundle), bundle.samples, strict=True):
        files[f"sample/{name}.bin"] = image.astype("<f4").tobytes()
    expected = dict(zip(_sample_names(bundle), bundle.expected.astype(float).tolist(), strict=True))
    files["sample/expected.json"] = _json(expected)
    return files


def _sample_names(bundle: Bundle) -> list[str]:
    return [f"{number:03d}" for number in range(len(bundle.samples))]


def _manifest(bundle: Bundle, files: dict[str, bytes]) -> dict[str, Any]:
    plan = bundle.plan
    return {
        "schema": SCHEMA,
        "edgekit": bundle.edgekit,
        "target": plan.target,
        "jetpack": plan.jetpack,
        "tensorrt": plan.tensorrt,
        "precision": plan.precision,
        "typing": plan.typing,
        "workspace_mib": plan.workspace_mib,
        "input": _tensor(bundle.model.graph.input[0]),
        "output": _tensor(bundle.model.graph.output[0]),
        "samples": _sample_names(bundle),
        "files": {name: _digest(content) for name, content in sorted(files.items())},
    }


def _environment(bundle: Bundle) -> str:
    """Return what run.sh needs of the manifest, as assignments of a POSIX shell."""
    plan, source = bundle.plan, _tensor(bundle.model.graph.input[0])
    values = {
        "PRECISION": plan.precision,
        "TYPING": str(plan.typing),
        "WORKSPACE_MIB": str(plan.workspace_mib),
        "INPUT": source["name"],
        "OUTPUT": _tensor(bundle.model.graph.output[0])["name"],
        "INPUT_SHAPE": "x".join(map(str, source["shape"])),
        "SAMPLES": " ".join(_sample_names(bundle)),
        "TARGET": plan.target,
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    return {"name": value.name, "shape": [dim.dim_value for dim in value.type.tensor_type.shape.dim]}


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
