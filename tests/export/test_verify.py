"""`verify` finds what an export got wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from edgekit.errors import ExportError
from edgekit.export import Verification, to_onnx, verify
from edgekit.spec import Note

ModelMaker = Callable[..., nn.Module]
Exporter = Callable[[str], tuple[onnx.ModelProto, tuple[Note, ...]]]


def test_a_right_model_passes_and_the_difference_is_reported(
    make_model: ModelMaker, exported: Exporter, images: np.ndarray
) -> None:
    module = make_model("mobilenet_v3_small")
    model, _ = exported("mobilenet_v3_small")
    result = verify(module, model, images)
    assert result == Verification(result.max_abs_difference, 5, 1e-3)
    assert 0 < result.max_abs_difference < 1e-3


def test_more_images_than_one_batch_are_all_compared(
    make_model: ModelMaker, exported: Exporter, images: np.ndarray
) -> None:
    module = make_model("mobilenet_v1")
    model, _ = exported("mobilenet_v1")
    many = np.concatenate([images] * 8)
    assert verify(module, model, many).images == 40


def test_the_module_keeps_its_mode(make_model: ModelMaker, exported: Exporter, images: np.ndarray) -> None:
    module = make_model("mobilenet_v1")
    model, _ = exported("mobilenet_v1")
    module.train()
    norm = next(part for part in module.modules() if isinstance(part, nn.BatchNorm2d))
    assert isinstance(norm.running_mean, torch.Tensor)
    before = norm.running_mean.clone()
    try:
        verify(module, model, images)
        assert module.training
        assert torch.equal(norm.running_mean, before)
    finally:
        module.eval()


@pytest.mark.parametrize(("change", "message"), [(0.1, "up to 0.1, allowed is 0.001"), (float("nan"), "up to nan")])
def test_ek403_a_changed_bias_is_found_and_the_difference_named(
    change: float, message: str, make_model: ModelMaker, exported: Exporter, images: np.ndarray
) -> None:
    module = make_model("mobilenet_v1")
    model, _ = exported("mobilenet_v1")
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == gemm.input[2])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(change), bias.name))
    with pytest.raises(ExportError, match=message) as caught:
        verify(module, model, images)
    assert (caught.value.code, caught.value.where) == ("EK403", "image 0")
    if change == 0.1:
        assert verify(module, model, images, tolerance=0.2).max_abs_difference == pytest.approx(0.1, rel=1e-2)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ek403_a_batch_axis_that_is_not_dynamic_is_found(count: int) -> None:
    images = np.zeros((count, 3, 8, 8), np.float32)
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        fixed (float[batch, 3, 8, 8] input) => (float[batch, 3] output) {
            shape = Constant <value_ints: ints = [2, 3]> ()
            means = GlobalAveragePool (input)
            output = Reshape (means, shape)
        }""")
    with pytest.raises(ExportError, match="batch") as caught:
        verify(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), model, images)
    assert caught.value.code == "EK403"


def test_ek403_a_model_with_another_number_of_classes_is_found(make_model: ModelMaker, images: np.ndarray) -> None:
    model, _ = to_onnx(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), input_size=64)
    with pytest.raises(ExportError, match=r"returns \(4, 3\) for 4 images, torch returns \(4, 10\)") as caught:
        verify(make_model("mobilenet_v1"), model, images)
    assert caught.value.code == "EK403"


@pytest.mark.shared_data
def test_real_photographs_give_the_same_logits(shared_data: Path, make_model: ModelMaker) -> None:
    with zipfile.ZipFile(shared_data / "imagenet_sample.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpeg", ".jpg", ".png"))][:8]
        photographs = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((64, 64)) for name in names]
    pixels = np.stack([np.asarray(photograph, np.float32) for photograph in photographs]).transpose(0, 3, 1, 2)
    images = np.ascontiguousarray(pixels / 127.5 - 1, dtype=np.float32)
    module = make_model("mobilenet_v2", "tf_same")
    model, _ = to_onnx(module, input_size=64)
    assert verify(module, model, images).max_abs_difference < 1e-3
