"""The first weights, the optimizer and the learning-rate schedule that a recipe asks for."""

from __future__ import annotations

import math

import torch
from torch import nn

from edgekit.training.recipes import Recipe


def initialise(module: nn.Module, recipe: Recipe, seed: int) -> None:
    """Draw the first weights of a module as the recipe says; `torch` leaves them as they are.

    Biases become 0, batch normalisation keeps scale 1 and shift 0, the linear layers are drawn from N(0, 0.01²) as
    in the papers' code. torch's own random state is left as it was.
    """
    if recipe.initialisation == "torch":
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                if is_depthwise(layer):
                    # Each channel stands alone: torch's own Xavier would count all of them as its outputs.
                    fan_in = fan_out = layer.weight[0].numel()
                    bound = math.sqrt(6 / (fan_in + fan_out))
                    nn.init.uniform_(layer.weight, -bound, bound)
                else:
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                nn.init.zeros_(layer.bias)


def is_depthwise(layer: nn.Module) -> bool:
    """Tell whether a layer is a convolution of each channel for itself."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels


def optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the recipe's optimizer over two groups: weights that decay, and all others."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for layer in module.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            decays = name == "weight" and isinstance(layer, (nn.Conv2d, nn.Linear)) and not is_depthwise(layer)
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
    """Return the learning rate after `progress_epochs` (a fraction within an epoch counts) of the recipe.

    It rises linearly through the warm-up and falls along half a cosine to zero (Loshchilov and Hutter 2016).
    """
    if progress_epochs < recipe.warmup_epochs:
        return recipe.learning_rate * progress_epochs / recipe.warmup_epochs
    length = max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    share = min((progress_epochs - recipe.warmup_epochs) / length, 1.0)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
