"""Models and images for the export tests."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekit.export import to_onnx
from edgekit.models import build
from edgekit.spec import ModelSpec, Note, Padding

ARCHITECTURES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")

ModelMaker = Callable[..., nn.Module]
Exporter = Callable[[str], tuple[onnx.ModelProto, tuple[Note, ...]]]


@functools.cache
def living_model(architecture: str, padding: Padding = "torch", input_size: int = 64, width: float = 0.25) -> nn.Module:
    """A model whose normalisations have seen images and whose logits are of the size of 1, as a trained one's are.

    The logits of a fresh network are about 1e-10: any two of them agree within any tolerance.
    """
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(7)
    model = build(ModelSpec(architecture, width=width, num_classes=10, input_size=input_size, padding=padding))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
    with torch.no_grad():
        model.train()(torch.randn(8, 3, input_size, input_size, generator=generator))
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.mul_(10)
    return model.eval()


@functools.cache
def _exported(architecture: str) -> tuple[bytes, tuple[Note, ...]]:
    model, notes = to_onnx(living_model(architecture), input_size=64)
    return model.SerializeToString(deterministic=True), notes


@pytest.fixture
def exported() -> Exporter:
    """Export the model of an architecture at opset 17, once a session; each call returns a model of its own."""

    def export(architecture: str) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
        content, notes = _exported(architecture)
        return onnx.load_from_string(content), notes

    return export


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """Each of the four architectures."""
    return str(request.param)


@pytest.fixture
def make_model() -> ModelMaker:
    """Make a model of an architecture; the same arguments give the same object."""
    return living_model


@pytest.fixture
def images() -> np.ndarray:
    """Five float32 images (5, 3, 64, 64) with structure: gradients, edges and noise."""
    rng = np.random.default_rng(3)
    ramp = np.linspace(-2, 2, 64, dtype=np.float32)
    noise = rng.normal(size=(5, 3, 64, 64)).astype(np.float32)
    return np.asarray(0.5 * noise + ramp[None, None, :, None] * np.sign(ramp)[None, None, None, :], dtype=np.float32)
