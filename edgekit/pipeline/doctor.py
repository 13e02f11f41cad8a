"""`edgekit doctor`: what this machine has of what edgekit needs or can use."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.machine import package_version

REQUIRED = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "numpy",
    "scipy",
    "pillow",
    "safetensors",
    "typer",
    "rich",
    "pydantic",
)
_PACKAGES_FIRST = "install the packages that are missing, then look again"
INT8_CPU = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "dotprod", "i8mm"})
OPTIONAL_PROGRAMS = (
    (
        "docker",
        "builds TensorRT engines in the provided container",
        "install Docker with the NVIDIA container toolkit",
    ),
    ("trtexec", "builds TensorRT engines on this machine", "comes with TensorRT and with JetPack"),
    ("nvidia-smi", "an NVIDIA GPU is visible", "needed only for TensorRT on this machine"),
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        name: What was looked for.
        ok: Whether it is there and usable.
        required: Whether edgekit's main job needs it.
        detail: Version, or what it would be good for.
        advice: What to do when it is not there; empty when it is.
    """

    name: str
    ok: bool
    required: bool
    detail: str
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """All findings; healthy when nothing that is required is missing."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether the main job can run."""
        return all(finding.ok for finding in self.findings if finding.required)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for `--json`."""
        return {
            "healthy": self.healthy,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }


def examine() -> Diagnosis:
    """Look at Python, packages, the CPU, what ships with edgekit, and the programs that later steps use.

    Packages are imported only to read what ships, and one that is missing is a finding, not an error.
    """
    findings = [
        _python(),
        *(_package(name) for name in REQUIRED),
        _simplifier(),
        _cpu(),
        _sample(),
        _checkpoint(),
    ]
    findings += [
        _package_optional("tensorrt", "edgekit[tensorrt]"),
        _package_optional("pycuda", "edgekit[pycuda]"),
    ]
    findings += [_program(*program) for program in OPTIONAL_PROGRAMS]
    return Diagnosis(tuple(findings))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 10), True, version, "")


def _package(name: str) -> Finding:
    version = package_version(name)
    return Finding(name, version is not None, True, version or "", "" if version else f"pip install {name}")


def _simplifier() -> Finding:
    version = package_version("onnxsim")
    advice = "" if version else "pip install onnxsim; without it edgekit's own passes clean the graph"
    return Finding("onnxsim", version is not None, False, version or "simplifies graphs", advice)


def _package_optional(name: str, requirement: str) -> Finding:
    version = package_version(name)
    advice = "" if version else f"pip install '{requirement}'"
    return Finding(name, version is not None, False, version or "runs TensorRT engines on this machine", advice)


def _cpu() -> Finding:
    from edgekit.report import environment

    machine = environment()
    features = ", ".join(machine.cpu_int8)
    detail = f"{machine.cpu}, {machine.cores} cores, int8 instructions: {features or 'none'}"
    fast = bool(INT8_CPU.intersection(machine.cpu_int8))
    advice = "" if fast else "int8 may be no faster than FP32 here, and on x86 less accurate; measure on the target"
    return Finding("CPU", fast, False, detail, advice)


def _sample() -> Finding:
    try:
        from edgekit.data import sample

        images = sample()
    except ImportError as error:
        return Finding("sample", False, True, str(error), _PACKAGES_FIRST)
    except EdgekitError as error:
        return Finding("sample", False, True, str(error), "install edgekit again")
    detail = f"{len(images.calibration)} calibration and {len(images.evaluation)} evaluation images of CIFAR-10"
    return Finding("sample", True, True, detail)


def _checkpoint() -> Finding:
    try:
        from edgekit.models import load

        loaded = load(None)
    except ImportError as error:
        return Finding("model", False, True, str(error), _PACKAGES_FIRST)
    except EdgekitError as error:
        return Finding("model", False, True, str(error), "install edgekit again")
    parameters = sum(parameter.numel() for parameter in loaded.module.parameters())
    return Finding("model", True, True, f"{loaded.spec.architecture} x{loaded.spec.width:g}, {parameters:,} parameters")


def _program(name: str, purpose: str, advice: str) -> Finding:
    found = shutil.which(name)
    return Finding(name, found is not None, False, Path(found).name if found else purpose, "" if found else advice)
