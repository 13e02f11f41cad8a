"""Folding batch normalisation into convolutions changes the weights and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.errors import ModelError
from edgekit.export import fold_batch_norm, to_onnx, verify
from edgekit.models.blocks import SamePadConv2d


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    channels=st.integers(1, 9),
    kernel=st.sampled_from([1, 3, 5]),
    depthwise=st.booleans(),
    bias=st.booleans(),
    eps=st.sampled_from([1e-5, 1e-3]),
    spread=st.floats(1e-3, 1e3),
    same=st.booleans(),
)
def test_fused_and_unfused_outputs_agree_for_any_statistics(
    seed: int, channels: int, kernel: int, depthwise: bool, bias: bool, eps: float, spread: float, same: bool
) -> None:
    torch.manual_seed(seed)
    groups = channels if depthwise else 1
    kind = SamePadConv2d if same else nn.Conv2d
    convolution = kind(channels, channels, kernel, 2, 0 if same else kernel // 2, groups=groups, bias=bias)
    norm = nn.BatchNorm2d(channels, eps=eps)
    module = nn.Sequential(convolution, norm, nn.ReLU6()).eval()
    assert isinstance(norm.running_mean, torch.Tensor)
    assert isinstance(norm.running_var, torch.Tensor)
    with torch.no_grad():
        norm.running_mean.normal_(0, spread)
        norm.running_var.uniform_(spread * 1e-2, spread)
        norm.weight.normal_()
        norm.bias.normal_()
    folded, notes = fold_batch_norm(module)
    images = torch.randn(2, channels, 7, 7)
    assert norms(folded) == 0
    assert [note.text for note in notes] == ["folded 1 BatchNorm2d into Conv2d"]
    with torch.inference_mode():
        scale = float(norm(convolution(images)).abs().max()) + float(
            (norm.running_mean / norm.running_var.sqrt()).abs().max()
        )
        torch.testing.assert_close(folded(images), module(images), rtol=1e-4, atol=1e-5 * max(1.0, scale))


def test_all_normalisations_of_all_architectures_are_folded_and_the_original_is_untouched(
    architecture: str, make_model: Callable[..., nn.Module], images: np.ndarray
) -> None:
    module = make_model(architecture, "tf_same").train()
    before = norms(module)
    folded, _ = fold_batch_norm(module)
    assert module.training
    assert norms(module) == before > 0
    module.eval()
    assert not folded.training
    assert norms(folded) == 0
    with torch.inference_mode():
        batch = torch.from_numpy(images)
        torch.testing.assert_close(folded(batch), module(batch), rtol=1e-3, atol=1e-3)


class _Shared(nn.Module):
    """Two readers of one convolution, and one normalisation used twice: neither can be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.own = nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        once = self.first(images)
        twice = self.norm(self.norm(self.second(images)))
        result: torch.Tensor = (once + self.own(once) + twice).flatten(1)
        return result


class _Doubling(nn.Conv2d):
    """A convolution that does more than convolve, after its bias."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002
        return super().forward(input).abs()


@pytest.mark.parametrize("module", [_Shared(), nn.Sequential(_Doubling(3, 3, 1), nn.BatchNorm2d(3), nn.Flatten())])
def test_what_cannot_be_folded_exactly_stays(module: nn.Module) -> None:
    before = norms(module)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.bias)
            assert isinstance(part.running_mean, torch.Tensor)
            part.running_mean.normal_()
    folded, notes = fold_batch_norm(module)
    assert norms(folded) == before
    assert notes == ()
    model, _ = to_onnx(module, input_size=8)
    verify(module, model, np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32))


class _Branching(nn.Module):
    """Control flow that depends on values, which torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.norm(self.conv(images))
        return features.flatten(1) if features.ndim == 4 and features.shape[0] > 0 else features


def test_a_module_that_cannot_be_traced_is_left_to_the_graph_passes() -> None:
    module = _Branching()
    assert isinstance(module.norm.running_mean, torch.Tensor)
    module.norm.running_mean.normal_()
    _, notes = fold_batch_norm(module)
    assert "cannot be traced" in notes[0].text
    model, _ = to_onnx(module, input_size=8)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Flatten"]
    verify(module, model, np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32))


def test_ek110_a_negative_variance_makes_no_weights() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    assert isinstance(module[1].running_var, torch.Tensor)
    module[1].running_var.fill_(-1.0)
    with pytest.raises(ModelError) as caught:
        fold_batch_norm(module)
    assert caught.value.code == "EK110"
