"""What changed between two models, layer by layer, or between two runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
from onnx import numpy_helper
from pipelines import facts, run

from edgekit.errors import UsageError
from edgekit.pipeline.diff import ModelDifference, RunDifference, diff
from edgekit.pipeline.run import RunOutcome
from edgekit.shipped import shipped_checkpoint

Finished = tuple[Path, RunOutcome]


def models(first: Path, second: Path) -> ModelDifference:
    found = diff(str(first), str(second))
    assert isinstance(found, ModelDifference)
    return found


def runs(first: Path, second: Path) -> RunDifference:
    found = diff(str(first), str(second))
    assert isinstance(found, RunDifference)
    return found


def changes(found: ModelDifference) -> dict[str, tuple[str, ...]]:
    return {layer.name: layer.what for layer in found.layers if layer.change != "same"}


@pytest.fixture
def fp32(finished: Finished) -> Path:
    return finished[0].parent / "edgekit-run" / "export" / "model.fp32.onnx"


def test_a_model_is_the_same_as_itself(fp32: Path) -> None:
    assert models(fp32, fp32).same
    assert models(shipped_checkpoint(), shipped_checkpoint()).same


def test_a_checkpoint_is_the_same_as_what_it_exports_to(smaller: Path, fp32: Path) -> None:
    assert changes(models(smaller, fp32)) == {}


def test_the_distance_of_weights_is_relative_to_the_first(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.25), tensor.name))
    onnx.save(model, tmp_path / "scaled.onnx")
    found = models(fp32, tmp_path / "scaled.onnx")
    assert changes(found) == {node.name: ("weights",)}
    assert next(layer.distance for layer in found.layers if layer.name == node.name) == pytest.approx(0.25)


def test_a_tensor_of_a_checkpoint_that_changed_is_named_by_its_layer(tmp_path: Path) -> None:
    tensors = safetensors.torch.load_file(shipped_checkpoint())
    with safetensors.safe_open(shipped_checkpoint(), framework="pt") as file:
        metadata = file.metadata()
    name = next(name for name in tensors if name.startswith("classifier") and name.endswith("weight"))
    tensors[name] = tensors[name] * 0.5
    safetensors.torch.save_file(tensors, tmp_path / "half.safetensors", metadata)
    found = models(shipped_checkpoint(), tmp_path / "half.safetensors")
    assert changes(found) == {name.rpartition(".")[0]: ("weights",)}


def test_an_int8_file_beside_fp32_shows_precision_and_what_rounding_moved(fp32: Path, finished: Finished) -> None:
    found = models(fp32, finished[0].parent / "edgekit-run" / "quantize" / "model.int8.onnx")
    convolutions = [layer for layer in found.layers if layer.name.endswith("/Conv")]
    assert len(convolutions) == 27
    for layer in convolutions:
        assert any(what.startswith("input float32 → uint8 zero ") for what in layer.what), layer
        assert layer.distance is not None
        assert 0 < layer.distance < 0.05, "integers count as what they stand for"
    assert {layer.what for layer in found.layers if layer.change == "removed"} == {("Clip",)}


def test_two_runs_show_settings_numbers_files_and_layers(copy: Callable[[], Path], finished: Finished) -> None:
    path = copy()
    run(path, "quantize.calibration_method=mse", "validate.enabled=false")
    found = runs(finished[0].parent / "edgekit-run", path.parent / "edgekit-run")
    assert {each.what: (each.was, each.now) for each in found.settings}["quantize.calibration_method"] == (
        "auto",
        "mse",
    )
    assert [each.what for each in found.files] == ["quantize/model.int8.onnx"]
    assert [model.same for model in found.models] == [False]
    assert found.versions == ()
    assert not found.same


def test_a_run_is_the_same_as_its_own_lock_file(finished: Finished) -> None:
    found = runs(finished[0].parent / "edgekit-run", finished[0].with_suffix(".lock"))
    assert found.same
    assert (found.settings, found.versions, found.numbers) == ((), (), ())


def test_a_run_and_a_model_or_an_unknown_folder_are_refused(finished: Finished, fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"EK016 .*one is a run and the other is a model"):
        diff(str(fp32), str(finished[0].with_suffix(".lock")))
    with pytest.raises(UsageError, match=r"EK016 .*the folder has no run\.json"):
        diff(str(tmp_path), str(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"schema": "edgekit.run/9"})])
def test_a_damaged_record_of_a_run_is_refused(finished: Finished, tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"EK015 .*run\.json: not the record of a run"):
        diff(str(finished[0].parent / "edgekit-run"), str(tmp_path))


def test_a_run_that_is_not_there_is_said(finished: Finished, tmp_path: Path) -> None:
    assert facts(finished[0].parent / "edgekit-run" / "run.json")["schema"] == "edgekit.run/1"
    with pytest.raises(UsageError, match="EK011"):
        diff(str(finished[0].parent / "edgekit-run"), str(tmp_path / "none.lock"))
