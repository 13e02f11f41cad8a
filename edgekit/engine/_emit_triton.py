"""A model of a Triton model repository: its configuration, its labels, and the file that is served or built.

On x86 the ONNX file is served, and onnxruntime's TensorRT provider builds the engine. Triton for JetPack has an
onnxruntime without that provider, so there the engine itself is served. Source: model_config.proto at
github.com/triton-inference-server/common, the README of its onnxruntime_backend, docs/user_guide/jetson.md of server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.text_encoding import CEscape  # type: ignore[import-untyped]

from edgekit.engine._folder import write_folder
from edgekit.spec import Preprocessing
from edgekit.targets import BuildPlan

CONFIGURATION, LABELS = "config.pbtxt", "labels.txt"
ENGINE = "1/model.plan"
PREPROCESSING_PARAMETER = "edgekit.preprocessing"
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Triton:
    """What a model of a repository is made of.

    Attributes:
        name: Its name, which is also that of its folder.
        model: The lowered model, for a batch of one.
        plan: How it gets onto the target.
        jetson: The target is a Jetson.
        preprocessing: How images become its input.
        class_names: Names of its classes; None where they are not known.
    """

    name: str
    model: onnx.ModelProto
    plan: BuildPlan
    jetson: bool
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None


def emit_triton(content: Triton, repository: Path) -> tuple[str, ...]:
    """Write a model into a repository, whole or not at all.

    Args:
        content: What it is made of.
        repository: The model repository; an earlier model of the same name in it is replaced, others stay.

    Returns:
        The names of the files in the repository, sorted.

    Raises:
        UsageError: EK003 when the model's folder holds something else, or cannot be written.
    """
    files = {CONFIGURATION: "".join(f"{line}\n" for line in _configuration(content)).encode()}
    # Triton looks for nothing but model.plan in the folder of a version that is a plan.
    files["model.onnx" if content.jetson else "1/model.onnx"] = content.model.SerializeToString(deterministic=True)
    if content.jetson:
        files["1/"] = b""
    if content.class_names is not None:
        files[LABELS] = "".join(f"{_label(name)}\n" for name in content.class_names).encode()
    written = write_folder(
        repository / content.name, files, mark=CONFIGURATION, kind="a model of Triton", option="--output"
    )
    return tuple(f"{content.name}/{name}" for name in written)


def _configuration(content: Triton) -> Iterator[str]:
    graph = content.model.graph
    labels = f" label_filename: {_quoted(LABELS)}" if content.class_names is not None else ""
    yield f"name: {_quoted(content.name)}"
    yield f"platform: {_quoted('tensorrt_plan' if content.jetson else 'onnxruntime_onnx')}"
    # The model takes one frame at a time, so its dimensions are given whole and nothing is batched.
    yield "max_batch_size: 0"
    yield f"input [ {{ {_tensor(graph.input[0])} }} ]"
    yield f"output [ {{ {_tensor(graph.output[0])}{labels} }} ]"
    yield "instance_group [ { count: 1 kind: KIND_GPU } ]"
    if not content.jetson:
        yield from _accelerator(content.plan)
    # A client can ask for it: what the server gets is the preprocessed input.
    value = f"value: {{ string_value: {_quoted(content.preprocessing.to_json())} }}"
    yield f"parameters {{ key: {_quoted(PREPROCESSING_PARAMETER)} {value} }}"


def _tensor(value: onnx.ValueInfoProto) -> str:
    dims = ", ".join(str(dim.dim_value) for dim in value.type.tensor_type.shape.dim)
    return f"name: {_quoted(value.name)} data_type: TYPE_FP32 dims: [ {dims} ]"


def _accelerator(plan: BuildPlan) -> Iterator[str]:
    parameters = {"precision_mode": plan.precision.upper()}
    if plan.workspace_mib is not None:
        parameters["max_workspace_size_bytes"] = str(plan.workspace_mib * _MIB)
    yield "optimization { execution_accelerators { gpu_execution_accelerator [ {"
    yield '  name: "tensorrt"'
    for key, value in parameters.items():
        yield f"  parameters {{ key: {_quoted(key)} value: {_quoted(value)} }}"
    yield "} ] } }"


def _quoted(text: str) -> str:
    return f'"{CEscape(text, as_utf8=True)}"'


def _label(name: str) -> str:
    """Return a class name as one line."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)
