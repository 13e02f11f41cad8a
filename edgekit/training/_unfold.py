"""Batch normalisation that a checkpoint had folded into its convolutions, brought back to life for training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

# A folded batch normalisation divides by one number; that of any trained layer differs from channel to channel.
_EQUAL = 1e-4


def folded(module: nn.Module) -> tuple[nn.BatchNorm2d, ...]:
    """Return the batch normalisations whose scale and variance are the same in every channel.

    A converter that folds them into the convolutions leaves such ones behind. They hold nothing of the activations,
    so training mode, which normalises with each batch's own statistics, computes another function at the first step.
    """
    return tuple(
        layer
        for layer in module.modules()
        if isinstance(layer, nn.BatchNorm2d) and _is_constant(layer.weight) and _is_constant(layer.running_var)
    )


def unfold(module: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Give folded batch normalisations the statistics of their inputs, and the scale and shift that undo them.

    What the module computes in eval mode stays the same; in training mode it now computes nearly that.

    Args:
        module: Model, changed in place.
        batches: Preprocessed images float32 (N, 3, H, W), a few hundred in all.

    Returns:
        The number of layers changed; the module is left alone where none is folded.
    """
    layers = folded(module)
    if not layers:
        return 0
    moments = {layer: _Moments() for layer in layers}
    handles = [layer.register_forward_hook(moments[layer].hook()) for layer in layers]
    training = module.training
    try:
        with torch.no_grad():
            for images in batches:
                module.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
        module.train(training)
    for layer in layers:
        _restate(layer, moments[layer])
    return len(layers)


class _Moments:
    """Sums over every position of every image, per channel, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = torch.zeros(1, dtype=torch.float64)
        self.squares = torch.zeros(1, dtype=torch.float64)

    def hook(self) -> Callable[[nn.Module, tuple[torch.Tensor, ...], Any], None]:
        def observe(_: nn.Module, inputs: tuple[torch.Tensor, ...], __: Any) -> None:
            values = inputs[0].double()
            self.count += values.numel() // values.shape[1]
            self.sum = self.sum + values.sum((0, 2, 3))
            self.squares = self.squares + (values * values).sum((0, 2, 3))

        return observe


def _restate(layer: nn.BatchNorm2d, moments: _Moments) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean = moments.sum / moments.count
    variance = (moments.squares / moments.count - mean * mean).clamp_min(0.0)
    with torch.no_grad():
        old = (layer.running_var.double() + layer.eps).sqrt()
        shift = layer.weight.double() * (mean - layer.running_mean.double()) / old
        layer.bias.add_(shift.float())
        layer.weight.mul_(((variance + layer.eps).sqrt() / old).float())
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)


def _is_constant(values: torch.Tensor | None) -> bool:
    return (
        values is not None and values.numel() > 1 and bool((values - values[0]).abs().max() <= _EQUAL * values[0].abs())
    )
