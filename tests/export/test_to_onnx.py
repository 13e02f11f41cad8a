"""What `to_onnx` promises about the graph it writes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.errors import EdgekitError, ExportError, ModelError
from edgekit.export import HIGHEST_OPSET, LOWEST_OPSET, to_onnx, verify
from edgekit.models.blocks import SamePadConv2d
from edgekit.spec import DEFAULT_OPSET, Note

GOLDEN = Path(__file__).parent / "golden"
ModelMaker = Callable[..., nn.Module]
Exporter = Callable[[str], tuple[onnx.ModelProto, tuple[Note, ...]]]


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def run(model: onnx.ModelProto, images: np.ndarray) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": images})[0]


# V3 has every operator that the others have; those are written at the ends and at the default.
@pytest.mark.parametrize(
    ("architecture", "opset"),
    [
        *(("mobilenet_v3_small", opset) for opset in range(LOWEST_OPSET, HIGHEST_OPSET + 1)),
        *(
            (architecture, opset)
            for architecture in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")
            for opset in (LOWEST_OPSET, DEFAULT_OPSET, HIGHEST_OPSET)
        ),
    ],
)
def test_every_opset_is_exactly_what_was_asked_and_computes_what_torch_computes(
    architecture: str, opset: int, make_model: ModelMaker, images: np.ndarray
) -> None:
    module = make_model(architecture)
    model, _ = to_onnx(module, input_size=64, opset=opset)

    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert verify(module, model, images, tolerance=5e-4).images == len(images)
    unwanted = {"Identity", "Constant", "Dropout", "BatchNormalization", "Pad", "ReduceMean", "Reshape", "Cast"}
    assert not unwanted & set(operators(model))
    read = {value for node in model.graph.node for value in node.input}
    written = {value for node in model.graph.node for value in node.output}
    assert {tensor.name for tensor in model.graph.initializer} <= read
    assert written <= read | {"output"}


def test_the_graph_of_each_architecture_is_the_golden_one(architecture: str, exported: Exporter) -> None:
    """Set EDGEKIT_WRITE_GOLDEN=1 to write the files anew, and read their difference before committing them."""
    model, _ = exported(architecture)
    lines = [f"{node.op_type} {node.name}" for node in model.graph.node]
    golden = GOLDEN / f"{architecture}.txt"
    if os.environ.get("EDGEKIT_WRITE_GOLDEN") == "1":
        golden.write_text("\n".join(lines) + "\n")
    assert lines == golden.read_text().splitlines()


def test_tf_same_models_have_the_same_graph_as_symmetric_ones_without_any_pad(
    architecture: str, make_model: ModelMaker
) -> None:
    model, notes = to_onnx(make_model(architecture, "tf_same", 65), input_size=65)
    assert [f"{node.op_type} {node.name}" for node in model.graph.node] == (
        GOLDEN / f"{architecture}.txt"
    ).read_text().splitlines()
    assert any("Pad into Conv" in note.text for note in notes)


@pytest.mark.parametrize("opset", [13, 14])
def test_hard_swish_is_one_node_from_opset_14_on_and_two_before(opset: int, make_model: ModelMaker) -> None:
    model, _ = to_onnx(make_model("mobilenet_v3_small"), input_size=64, opset=opset)
    # 19 hard-swish activations and 9 gates of squeeze-and-excitation, which are a HardSigmoid and a Mul each.
    count = operators(model)
    expected = (19, 9, 9) if opset >= 14 else (0, 28, 28)
    assert (count["HardSwish"], count["HardSigmoid"], count["Mul"]) == expected


def test_the_full_size_mobilenet_v1_exports(make_model: ModelMaker, images: np.ndarray) -> None:
    module = make_model("mobilenet_v1", width=1.0)
    model, notes = to_onnx(module, input_size=64)
    assert verify(module, model, images).max_abs_difference < 1e-3
    assert "folded 27 BatchNorm2d into Conv2d" in [note.text for note in notes]
    assert {note.source for note in notes} == {"export"}


def test_names_and_shapes_say_where_things_come_from_and_the_batch_is_a_symbol(
    make_model: ModelMaker, exported: Exporter
) -> None:
    module = make_model("mobilenet_v2")
    model, _ = exported("mobilenet_v2")
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    modules = dict(module.named_modules())
    for node in model.graph.node:
        layer, _, operator = node.name.rpartition("/")
        assert operator.startswith(node.op_type)
        assert layer in modules
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 1}
    assert weights == {name for name, value in module.named_parameters() if value.ndim > 1}
    shapes = {value.name: value.type.tensor_type.shape for value in model.graph.value_info}
    inner = {value for node in model.graph.node for value in node.output} - {"output"}
    assert set(shapes) >= inner
    assert {shapes[value].dim[0].dim_param for value in inner} == {"batch"}
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "output"]


def test_no_two_layers_share_a_bias() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8)
    )
    for layer in (module[0], module[1], module[4]):
        assert isinstance(layer.bias, nn.Parameter)
        nn.init.zeros_(layer.bias)
    model, _ = to_onnx(module, input_size=8)
    biases = [node.input[2] for node in model.graph.node if node.op_type in {"Conv", "Gemm"}]
    assert len(set(biases)) == len(biases) == 3


def test_metadata_producer_and_ir_version_are_written() -> None:
    expected = {13: 7, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
    for opset, ir_version in expected.items():
        model, _ = to_onnx(nn.Conv2d(3, 2, 1), input_size=4, opset=opset, metadata={"edgekit.spec": "{}", "a": "b"})
        assert model.ir_version == ir_version
        assert model.producer_name == "edgekit"
        assert {entry.key: entry.value for entry in model.metadata_props} == {"edgekit.spec": "{}", "a": "b"}


@pytest.mark.parametrize("padding", ["torch", "tf_same"])
def test_the_same_module_gives_the_same_bytes_and_stays_as_it_was(padding: str, make_model: ModelMaker) -> None:
    module = make_model("mobilenet_v3_small", padding)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    first, _ = to_onnx(module, input_size=64)
    second, _ = to_onnx(module, input_size=64)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_nothing_is_printed(make_model: ModelMaker, capfd: pytest.CaptureFixture[str]) -> None:
    to_onnx(make_model("mobilenet_v3_small", "tf_same"), input_size=64, opset=21)
    with pytest.raises(ExportError):
        to_onnx(_Sampler(), input_size=8, opset=13)
    assert capfd.readouterr() == ("", "")


class _OneConvolution(nn.Module):
    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = SamePadConv2d(3, 4, kernel, stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(images).flatten(1)
        return result


def same_convolution(images: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME, from its definition: output ceil(n / stride), the odd pixel of padding right and bottom."""
    kernel = weight.shape[-1]
    size = images.shape[-1]
    output = -(-size // stride)
    total = max((output - 1) * stride + kernel - size, 0)
    before, after = total // 2, total - total // 2
    padded = np.pad(images, ((0, 0), (0, 0), (before, after), (before, after)))
    result = np.zeros((len(images), len(weight), output, output), np.float32)
    for row in range(output):
        for column in range(output):
            window = padded[..., row * stride : row * stride + kernel, column * stride : column * stride + kernel]
            result[..., row, column] = np.einsum("nchw,ochw->no", window, weight)
    return result


@pytest.mark.parametrize("size", [8, 9, 10, 11, 13])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 3), (1, 2)])
def test_tf_same_equals_its_definition_for_even_and_odd_sizes(size: int, kernel: int, stride: int) -> None:
    torch.manual_seed(size)
    module = _OneConvolution(kernel, stride).eval()
    model, _ = to_onnx(module, input_size=size)
    images = np.random.default_rng(size).normal(size=(2, 3, size, size)).astype(np.float32)
    expected = same_convolution(images, module.conv.weight.detach().numpy(), stride)
    assert set(operators(model)) == {"Conv", "Flatten"}
    np.testing.assert_allclose(run(model, images), expected.reshape(2, -1), atol=1e-5)


class _Mean(nn.Module):
    def __init__(self, keepdim: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.keepdim = keepdim

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = self.conv(images).mean((-2, -1), keepdim=self.keepdim)
        rows: torch.Tensor = means.view(means.shape[0], -1)
        return rows


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("opset", [13, 18, 21])
def test_a_mean_over_the_image_becomes_a_pool(keepdim: bool, opset: int, images: np.ndarray) -> None:
    module = _Mean(keepdim)
    model, _ = to_onnx(module, input_size=64, opset=opset)
    assert operators(model) >= Counter(["Conv", "GlobalAveragePool", "Flatten"])
    assert not {"ReduceMean", "Reshape", "Shape"} & set(operators(model))
    verify(module, model, images)


@pytest.mark.parametrize("opset", [0, 9, 12, 22, 99])
def test_ek401_an_opset_outside_the_range_is_refused_with_the_range(opset: int, make_model: ModelMaker) -> None:
    with pytest.raises(ExportError, match="13 to 21") as caught:
        to_onnx(make_model("mobilenet_v1"), input_size=64, opset=opset)
    assert caught.value.code == "EK401"
    if opset < 13:
        assert "one scale per channel" in caught.value.what


class _Sampler(nn.Module):
    """Uses an operator that came with opset 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stem(images)
        grid = torch.zeros(1, 4, 4, 2).expand(features.shape[0], 4, 4, 2)
        sampled: torch.Tensor = F.grid_sample(features, grid, align_corners=False)
        return sampled.flatten(1)


class _Warp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sampler = _Sampler()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.sampler(images)
        return result


def test_ek402_names_the_node_that_prevents_the_opset_and_the_opset_that_has_it() -> None:
    with pytest.raises(ExportError) as caught:
        to_onnx(_Warp(), input_size=8, opset=13)
    assert caught.value.code == "EK402"
    assert caught.value.where == "node sampler/GridSample"
    assert "operator GridSample does not exist at opset 13, it came with 16" in caught.value.what
    assert "16" in caught.value.hint


class _Gamma(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.special.gammainc(images, images)
        return values.flatten(1)


def test_ek402_names_torchs_operator_when_no_opset_has_it() -> None:
    with pytest.raises(ExportError, match="igamma") as caught:
        to_onnx(_Gamma(), input_size=8)
    assert caught.value.code == "EK402"


class _Homemade(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)

    @staticmethod
    def symbolic(graph: Any, images: Any) -> Any:
        return graph.op("homemade::Flat", images)


class _InvalidFlatten(_Homemade):
    @staticmethod
    def symbolic(graph: Any, images: Any) -> Any:
        return graph.op("Conv", images)  # no weight


class _Calls(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.function.apply(images)  # type: ignore[no-untyped-call]
        return result


class _Broken(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no picture is good enough")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (_Calls(_Homemade), "homemade::Flat is not part of ONNX"),
        (_Calls(_InvalidFlatten), "onnx rejects the model"),
        (_Broken(), "no picture is good enough"),
    ],
)
def test_ek404_a_graph_that_is_not_valid_onnx_is_refused(module: nn.Module, reason: str) -> None:
    with pytest.raises(ExportError, match=reason) as caught:
        to_onnx(module, input_size=8)
    assert caught.value.code == "EK404"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_ek110_weights_that_are_not_finite_are_named(value: float) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert isinstance(module[1].running_var, torch.Tensor)
    module[1].running_var[2] = value
    with pytest.raises(ModelError) as caught:
        to_onnx(module, input_size=8)
    assert isinstance(caught.value, EdgekitError)
    assert (caught.value.code, caught.value.where) == ("EK110", "1.running_var")
