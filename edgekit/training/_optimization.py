"""The optimizer and the learning-rate schedule that a recipe asks for."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgekit.training.recipes import Recipe


def optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the recipe's optimizer over two groups: weights that decay, and all others."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels
            decays = name == "weight" and isinstance(layer, (nn.Conv2d, nn.Linear)) and not depthwise
            (decaying if decays else others).append(parameter)
    groups = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=recipe.momentum > 0)
    # Decay 0.9 and epsilon 0.001 are what the MobileNet papers' code uses with RMSprop.
    return torch.optim.RMSprop(groups, recipe.learning_rate, alpha=0.9, eps=1e-3, momentum=recipe.momentum)


def learning_rate(recipe: Recipe, progress_epochs: float) -> float:
    """Return the learning rate after `progress_epochs` (a fraction within an epoch counts) of the recipe."""
    if progress_epochs < recipe.warmup_epochs:
        return recipe.learning_rate * progress_epochs / recipe.warmup_epochs
    length = max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    share = min((progress_epochs - recipe.warmup_epochs) / length, 1.0)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
