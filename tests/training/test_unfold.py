"""Checkpoints whose batch normalisation was folded away can be trained again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.models import NO_OVERRIDES, build, load
from edgekit.spec import ModelSpec
from edgekit.training import unfold

IMAGES = [torch.from_numpy(np.random.default_rng(3).normal(size=(16, 3, 32, 32)).astype(np.float32))]


def folded_model() -> nn.Module:
    """A model as a converter leaves it: scale 1 and variance 1 - eps, everything else in the convolutions."""
    torch.manual_seed(0)
    model = build(ModelSpec("mobilenet_v1", width=0.25, num_classes=10, input_size=32, stem_stride=1)).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(3.0)
            elif isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_var.fill_(1 - layer.eps)
                layer.bias.normal_(0.3, 0.2)
    return model


def test_what_the_model_computes_stays_the_same_and_training_mode_now_agrees() -> None:
    model = folded_model()
    with torch.no_grad():
        before = model(IMAGES[0])
        apart = (model.train()(IMAGES[0]) - before).abs().max()
    model = folded_model()
    assert unfold(model, IMAGES) == 27
    with torch.no_grad():
        after = model.eval()(IMAGES[0])
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
        trained = model.train()(IMAGES[0])
    assert (trained - before).abs().max() < 0.05 * apart


def test_a_live_batch_normalisation_is_left_alone() -> None:
    model = folded_model()
    unfold(model, IMAGES)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert unfold(model, IMAGES) == 0
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_the_mode_of_the_module_is_kept() -> None:
    model = folded_model().train()
    unfold(model, IMAGES)
    assert all(layer.training for layer in model.modules())


@pytest.mark.shared_data
def test_a_real_checkpoint_whose_normalisation_was_folded_is_recognised(shared_data: Path) -> None:
    loaded = load(shared_data / "mobilenet_v1_0.25_224_imagenet.safetensors", NO_OVERRIDES)
    images = torch.from_numpy(np.random.default_rng(0).normal(0, 0.5, (4, 3, 96, 96)).astype(np.float32))
    with torch.no_grad():
        before = loaded.module.eval()(images)
        assert unfold(loaded.module, [images]) == 27
        after = loaded.module.eval()(images)
    torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-2)
