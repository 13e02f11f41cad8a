"""Every runtime gives the logits that torch computes, with the threads asked for; what is missing has a code."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from edgekit.errors import ComparisonError, UsageError
from edgekit.validate import Provider, session
from edgekit.validate._session import PROVIDERS
from edgekit.validate.backends import Backend, BackendName, OpenModel, choose_backend

NAMES = get_args(BackendName)
SIZE, CLASSES = 12, 5
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
INSTALLED = [pytest.param(name, marks=needs_openvino if name == "openvino" else ()) for name in NAMES]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))


@pytest.fixture(scope="module")
def files(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model as each kind of file that a backend reads."""
    folder = tmp_path_factory.mktemp("files")
    torch.save(module, folder / "model.pt")
    onnx.save_model(as_onnx(module, "batch"), folder / "model.onnx")
    return {"module": folder / "model.pt", "onnx": folder / "model.onnx"}


def as_onnx(module: nn.Module, batch: int | str) -> onnx.ModelProto:
    weights = {name.replace(".", "_"): tensor.detach().numpy() for name, tensor in module.named_parameters()}
    nodes = [
        helper.make_node("Conv", ["input", "0_weight", "0_bias"], ["features"]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "4_weight", "4_bias"], ["output"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [batch, CLASSES])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def images(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    name: BackendName = request.param
    return choose_backend(name)


def opened(backend: Backend, files: dict[str, Path]) -> OpenModel:
    return backend.open(files[backend.reads], threads=1)


@pytest.mark.parametrize("backend", INSTALLED, indirect=True)
def test_a_backend_computes_what_the_module_does_at_any_batch_size(
    backend: Backend, files: dict[str, Path], module: nn.Module
) -> None:
    model = opened(backend, files)
    for count in (1, 4, 1):
        with torch.inference_mode():
            expected = module(torch.from_numpy(images(count))).numpy()
        np.testing.assert_allclose(model(images(count)), expected, rtol=1e-4, atol=1e-5)
    assert (model.threads, model.fixed_batch) == (1, None)
    assert any(letter.isdigit() for letter in model.runtime)


@pytest.mark.parametrize("backend", INSTALLED, indirect=True)
def test_a_backend_runs_the_smallest_model_that_it_writes(backend: Backend, tmp_path: Path) -> None:
    backend.write_smallest(tmp_path / "smallest")
    model = backend.open(tmp_path / "smallest", threads=1)
    assert model(np.zeros((1, 3, 1, 1), np.float32)).shape[0] == 1


@pytest.mark.parametrize("name", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_a_file_of_one_batch_size_says_so(name: BackendName, module: nn.Module, tmp_path: Path) -> None:
    onnx.save_model(as_onnx(module, 1), tmp_path / "fixed.onnx")
    model = choose_backend(name).open(tmp_path / "fixed.onnx", threads=1)
    assert model.fixed_batch == 1
    assert model(images(1)).shape == (1, CLASSES)


@needs_openvino
def test_what_openvino_does_not_know_is_ek612(tmp_path: Path) -> None:
    strange = tmp_path / "strange.onnx"
    node = helper.make_node("Enchant", ["input"], ["output"], domain="elsewhere")
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in node.input]
    graph = helper.make_graph([node], "strange", value, [helper.make_empty_tensor_value_info("output")])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    onnx.save_model(helper.make_model(graph, opset_imports=imports, ir_version=9), strange)
    with pytest.raises(ComparisonError, match=r"EK612 .*strange\.onnx: OpenVINO cannot run it"):
        choose_backend("openvino").open(strange, threads=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_that_is_not_installed_is_ek610(name: BackendName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # How Python itself marks a package as not to be found.
    with pytest.raises(ComparisonError, match=f"EK610 --backend: {name} is not installed; pip install {name}"):
        choose_backend(name)


def test_a_provider_of_another_backend_is_ek001() -> None:
    with pytest.raises(UsageError, match="EK001 --provider: torch runs on the CPU alone here"):
        choose_backend("torch", "cuda")


@pytest.mark.parametrize("provider", sorted(set(get_args(Provider)) - {"cpu"}))
def test_a_provider_that_this_onnxruntime_lacks_is_ek611(provider: Provider, files: dict[str, Path]) -> None:
    if PROVIDERS[provider] in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has {provider}")
    with pytest.raises(ComparisonError, match=f"EK611 --provider: onnxruntime has no {PROVIDERS[provider]} here"):
        choose_backend("onnxruntime", provider).open(files["onnx"], threads=1)


def test_a_provider_that_onnxruntime_silently_replaces_by_the_cpu_is_ek611(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What an onnxruntime for GPUs says on a machine without the libraries of CUDA.
    told = [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    if PROVIDERS["cuda"] in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime may have a GPU")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: told)
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"), pytest.raises(ComparisonError, match="EK611"):
        session(files["onnx"], threads=1, provider="cuda")
