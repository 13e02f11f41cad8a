"""The model of a Triton repository, parsed by protobuf against Triton's own schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from triton_schema import parse

from edgekit.cli._main import run
from edgekit.data import sample
from edgekit.engine import Triton, emit_triton
from edgekit.errors import UsageError
from edgekit.models import Overrides, load
from edgekit.pipeline.emitting import EmitRequest, Emitted, emit
from edgekit.pipeline.sources import open_source
from edgekit.spec import Preprocessing

CIFAR = load(None).preprocessing


@pytest.fixture(scope="module")
def v2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MobileNetV2 with ImageNet's preprocessing, as a file."""
    path = tmp_path_factory.mktemp("v2") / "small v2.onnx"
    onnx.save(
        open_source("mobilenet_v2", Overrides(width=0.35, input_size=64, num_classes=5, resize=72), 13).model, path
    )
    return path


@pytest.fixture(scope="module")
def jetson(tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    """The model that ships, for a Jetson."""
    return emit(EmitRequest(None, "jetson-nano", "triton", tmp_path_factory.mktemp("jetson") / "models"))


@pytest.fixture(scope="module")
def x86(v2_file: Path) -> Emitted:
    """A MobileNetV2 for a GPU in an x86 machine."""
    return emit(EmitRequest(str(v2_file), "x86-gpu", "triton", v2_file.parent / "models", jetpack="10.3"))


def configuration(emitted: Emitted, name: str) -> Any:
    return parse((emitted.folder / name / "config.pbtxt").read_text(encoding="utf-8"))


def preprocessing(config: Any) -> Preprocessing:
    return Preprocessing.from_json(config.parameters["edgekit.preprocessing"].string_value)


def test_a_jetson_serves_the_engine_and_gets_the_model_to_build_it_from(jetson: Emitted) -> None:
    config = configuration(jetson, "mobilenet_v1")
    assert (config.name, config.platform, config.max_batch_size) == ("mobilenet_v1", "tensorrt_plan", 0)
    assert [(value.name, list(value.dims)) for value in config.input] == [
        ("input", [1, 3, CIFAR.input_size, CIFAR.input_size])
    ]
    (output,) = config.output
    assert (output.name, list(output.dims), output.label_filename) == ("output", [1, 10], "labels.txt")
    assert preprocessing(config) == CIFAR
    assert not config.HasField("optimization")
    folder = jetson.folder / "mobilenet_v1"
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt", "labels.txt", "model.onnx"]
    assert list((folder / "1").iterdir()) == []
    assert "mobilenet_v1/1/model.plan" in "\n".join(note.text for note in jetson.notes)
    assert tuple((folder / "labels.txt").read_text().splitlines()) == sample().evaluation.class_names


def test_x86_serves_the_model_through_tensorrt(x86: Emitted, v2_file: Path) -> None:
    config = configuration(x86, "small_v2")
    assert (config.name, config.platform, config.max_batch_size) == ("small_v2", "onnxruntime_onnx", 0)
    assert [list(value.dims) for value in (*config.input, *config.output)] == [[1, 3, 64, 64], [1, 5]]
    assert config.output[0].label_filename == ""
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert dict(accelerator.parameters) == {
        "precision_mode": "FP16",
        "max_workspace_size_bytes": str(x86.plan.workspace_mib * 2**20) if x86.plan.workspace_mib else "",
    }
    stored = {entry.key: entry.value for entry in onnx.load(v2_file).metadata_props}
    assert preprocessing(config) == Preprocessing.from_json(stored["edgekit.preprocessing"])
    assert x86.files == ("small_v2/1/model.onnx", "small_v2/config.pbtxt")


@pytest.mark.parametrize("case", ["jetson", "x86"])
def test_names_types_and_dimensions_are_those_of_the_file(case: str, jetson: Emitted, x86: Emitted) -> None:
    emitted, place = (jetson, "mobilenet_v1/model.onnx") if case == "jetson" else (x86, "small_v2/1/model.onnx")
    session = onnxruntime.InferenceSession(emitted.folder / place, providers=["CPUExecutionProvider"])
    config = configuration(emitted, place.split("/")[0])
    for written, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [(value.name, list(value.dims)) for value in written] == [(value.name, value.shape) for value in real]
        # TYPE_FP32 of Triton's DataType.
        assert [value.data_type for value in written] == [11]
        assert {value.type for value in real} == {"tensor(float)"}
    image = np.zeros(list(config.input[0].dims), np.float32)
    (logits,) = session.run([config.output[0].name], {config.input[0].name: image})
    assert list(np.shape(logits)) == list(config.output[0].dims)


def test_names_of_strangers_cannot_break_the_configuration(jetson: Emitted, tmp_path: Path) -> None:
    model = onnx.load(jetson.folder / "mobilenet_v1" / "model.onnx")
    name = 'in"put\\ } platform: "é'
    for node in model.graph.node:
        node.input[:] = [name if value == "input" else value for value in node.input]
    model.graph.input[0].name = name
    emit_triton(Triton("m", model, jetson.plan, True, CIFAR, ("line\nbreak",)), tmp_path)
    config = parse((tmp_path / "m" / "config.pbtxt").read_text(encoding="utf-8"))
    assert (config.input[0].name, config.platform) == (name, "tensorrt_plan")
    assert (tmp_path / "m" / "labels.txt").read_text() == "line?break\n"


def test_other_models_of_the_repository_stay(v2_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "models" / "other" / "config.pbtxt"
    other.parent.mkdir(parents=True)
    other.write_text("of somebody else")
    request = EmitRequest(str(v2_file), "jetson-nano", "triton", tmp_path / "models")
    emit(request)
    emit(request)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["other", "small_v2"]
    assert other.read_text() == "of somebody else"
    (tmp_path / "models" / "small_v2" / "config.pbtxt").unlink()
    with pytest.raises(UsageError, match=r"EK003 .*small_v2: .*not a model of Triton; .*--output"):
        emit(request)


def test_the_schema_refuses_what_triton_would() -> None:
    with pytest.raises(ValueError, match="no field named"):
        parse('name: "m" max_batch: 0')
    with pytest.raises(ValueError, match="TYPE_FLOAT"):
        parse('input [ { name: "x" data_type: TYPE_FLOAT dims: [ 1 ] } ]')


def test_the_command_writes_into_a_repository(
    v2_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["build", str(v2_file), "--target", "jetson-nano", "--emit", "triton", "--output", str(tmp_path), "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["small_v2/config.pbtxt", "small_v2/model.onnx"]
