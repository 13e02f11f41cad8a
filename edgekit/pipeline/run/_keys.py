"""What a result follows from, as one hash: what is asked for, the content of its inputs, code and libraries."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import edgekit
from edgekit.pipeline.run._cache import Kind
from edgekit.pipeline.run._hashes import Hashes

PACKAGE = Path(edgekit.__file__).parent
_TRAINING = ("torch", "numpy", "pillow", "safetensors")
_GRAPHS = (*_TRAINING, "scipy", "onnx", "onnxruntime", "onnxscript", "onnx-ir", "onnxsim")
# Libraries whose version can change the bytes of a result, or the numbers in it.
LIBRARIES: Mapping[Kind, tuple[str, ...]] = MappingProxyType({
    "train": _TRAINING,
    "prune": (*_GRAPHS, "torch-pruning"),
    "recover": _TRAINING,
    "export": _GRAPHS,
    "bundle": _GRAPHS,
    "engine": _GRAPHS,
    "validate": _GRAPHS,
    "gate": _GRAPHS,
    "measure": _GRAPHS,
})  # fmt: skip

# What these make is taken wherever it was made: it is dear, and good anywhere. The rest is chosen for a processor, or
# measured on it.
PORTABLE: frozenset[Kind] = frozenset({"train", "prune", "recover", "bundle"})
_PROCESSOR = ("model name", "flags", "Features", "CPU part")


def key_of(kind: Kind, options: Mapping[str, Any], inputs: Mapping[str, str], hashes: Hashes) -> str:
    """Return the key of a result as 64 hexadecimal digits.

    Args:
        kind: What is called.
        options: What it is asked for, as plain JSON; no paths, for these may change while their content does not.
        inputs: Hash of each input by name.
        hashes: Hashes of the program's own files.
    """
    parts = {
        "kind": kind,
        "options": dict(options),
        "inputs": dict(inputs),
        "edgekit": code_sha256(hashes),
        "libraries": {name: library_version(name) for name in LIBRARIES[kind]},
        "python": python_version(),
        "processor": None if kind in PORTABLE else processor(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def code_sha256(hashes: Hashes) -> str:
    """Return the hash of edgekit's own sources; commands only parse and print, so they do not count."""
    return hashes.of_sources(PACKAGE, leave_out="cli")


@functools.cache
def library_version(name: str) -> str | None:
    """Return the version of an installed library without importing it; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def python_version() -> str:
    """Return the version of Python that counts: its first two numbers."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@functools.cache
def processor() -> str:
    """Return what of this machine decides how a model is quantized for it and how fast it is, as a hash."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = {line for line in text.splitlines() if line.startswith(_PROCESSOR)}
    facts = [platform.machine(), len(os.sched_getaffinity(0)), *sorted(lines)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
