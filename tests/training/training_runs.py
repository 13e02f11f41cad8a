"""Short real runs that the tests of training share: CIFAR-10 images, a narrow MobileNet, a few seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from edgekit.data import Augmentation, ImageSet, sample
from edgekit.models import build
from edgekit.spec import ModelSpec, Preprocessing
from edgekit.training import EpochResult, Recipe, Trained, initialise, train

SAMPLE = sample()
IMAGES = SAMPLE.calibration.spread(96)
SPEC = ModelSpec("mobilenet_v1", 0.25, 10, 32)
PREPROCESSING = Preprocessing(32, 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
QUICK = Recipe(
    "quick", "sgd", 0.05, 3, Augmentation(crop_padding=4, colour_jitter=0.1), batch_size=32, label_smoothing=0.1
)


def new_module(spec: ModelSpec = SPEC, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec)


def run(
    output: Path, spec: ModelSpec = SPEC, recipe: Recipe = QUICK, images: ImageSet = IMAGES, **options: Any
) -> Trained:
    module = new_module(spec)
    initialise(module, recipe, 0)
    return train(module, spec, PREPROCESSING, recipe, images, output, **options)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(trained.module.state_dict())


def same(first: Any, second: Any) -> bool:
    """Compare nested tensors bit by bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def timeless(history: tuple[EpochResult, ...]) -> list[EpochResult]:
    return [dataclasses.replace(result, seconds=0.0) for result in history]
