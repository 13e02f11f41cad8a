"""Fitting what pruning left to what the original computes, layer by layer, from a few images without labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from edgekit.errors import PruningError
from edgekit.models import MobileNet

Repair = Literal["none", "bn", "repair"]
# Ridge, as a share of the mean variance of the inputs: pulls towards the weights that are there.
DAMPING = 1e-3
Batches = list[torch.Tensor]


@torch.no_grad()
def repair(
    original: MobileNet,
    pruned: MobileNet,
    kept: Mapping[str, Sequence[int]],
    batches: Sequence[torch.Tensor],
    *,
    masks: Mapping[str, torch.Tensor] = MappingProxyType({}),
    advance: Callable[[int], None] = lambda blocks: None,
) -> None:
    """Refit every layer by least squares to the original's output before normalisation, in the order they run.

    Each layer sees the inputs that the repaired layers before it give, so errors do not pile up. Depthwise kernels are
    fitted channel by channel. Activations of one block at a time are held, for all images.

    Source: He et al. 2017, Channel Pruning for Accelerating Very Deep Neural Networks, arXiv 1707.06168, section 3.1.

    Args:
        original: The model before pruning.
        pruned: The model after, changed in place; both have the same layers.
        kept: For each layer the output channels of the original that the pruned one has; absent: all.
        batches: Preprocessed images float32 (N, 3, H, W), a few hundred in all.
        masks: Layers whose weights (outputs, rest) may be other than zero only where this is true.
        advance: Called after each block.
    """
    original.eval()
    pruned.eval()
    before, after = list(batches), list(batches)
    for (prefix, old), (_, new) in zip(_blocks(original), _blocks(pruned), strict=True):
        for name, layer in new.named_modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                full = ".".join(part for part in (prefix, name) if part)
                _refit(old, new, name, kept.get(full), masks.get(full), before, after)
        before = [old(batch) for batch in before]
        after = [new(batch) for batch in after]
        advance(1)


@torch.no_grad()
def reestimate(module: MobileNet, batches: Sequence[torch.Tensor]) -> None:
    """Measure the mean and variance of every batch normalisation anew, in place, as they are in training mode."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    dropouts = [layer for layer in module.modules() if isinstance(layer, nn.Dropout)]
    module.train()
    for dropout in dropouts:
        dropout.eval()
    for batch in batches:
        module(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.eval()


def no_images(what: str) -> PruningError:
    """Return the error of what needs images where there are none."""
    return PruningError(
        "EK804",
        f"{what} images, and there are none",
        hint="give some of the model's own images with --data, labels are not needed",
    )


def _blocks(module: MobileNet) -> Iterator[tuple[str, nn.Module]]:
    for name, block in module.features.named_children():
        yield f"features.{name}", block
    yield "", _Head(module)


class _Head(nn.Module):
    """What comes after the features, with the names that it has in the model."""

    def __init__(self, module: MobileNet) -> None:
        super().__init__()
        self.pool = module.pool
        self.classifier = module.classifier

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.pool(features).flatten(1))
        return logits


def _refit(
    old: nn.Module,
    new: nn.Module,
    name: str,
    kept: Sequence[int] | None,
    mask: torch.Tensor | None,
    before: Batches,
    after: Batches,
) -> None:
    layer = new.get_submodule(name)
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    taps = _taps(layer)
    equations = _Equations()
    for whole, left in zip(before, after, strict=True):
        wanted = _watch(old, name, whole)[1]
        if kept is not None:
            wanted = wanted[:, list(kept)]
        inputs, given = _watch(new, name, left)
        equations.add(taps(inputs), wanted - given)
    change, shift = equations.solve() if mask is None else equations.solve_within(mask)
    layer.weight += change.reshape(layer.weight.shape).to(layer.weight.dtype)
    if layer.bias is not None:
        layer.bias += shift.to(layer.bias.dtype)
    else:
        norm = _norm_after(new, name)
        assert norm.running_mean is not None
        norm.running_mean -= shift.to(norm.running_mean.dtype)


def _watch(block: nn.Module, name: str, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a block and return what one of its layers takes and gives."""
    seen: list[torch.Tensor] = []

    def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        seen.extend((inputs[0], output))

    handle = block.get_submodule(name).register_forward_hook(hook)
    try:
        block(batch)
    finally:
        handle.remove()
    return seen[0], seen[1]


def _taps(layer: nn.Conv2d | nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from a layer's input to what its weights multiply: (groups, rows, weights of an output)."""
    if isinstance(layer, nn.Linear):
        return lambda inputs: inputs.unsqueeze(0)
    if layer.kernel_size == (1, 1):
        return lambda inputs: inputs.permute(0, 2, 3, 1).flatten(0, 2).unsqueeze(0)
    # A convolution with one-hot kernels shifts the image as the layer itself does, whatever its padding and stride.
    size = layer.kernel_size[0] * layer.kernel_size[1]
    shifts = copy.deepcopy(layer)
    one_hot = torch.eye(size).reshape(size, 1, *layer.kernel_size)
    shifts.weight = nn.Parameter(one_hot.repeat(layer.in_channels, 1, 1, 1), requires_grad=False)
    shifts.groups, shifts.bias = layer.in_channels, None

    def patches(inputs: torch.Tensor) -> torch.Tensor:
        shifted: torch.Tensor = shifts(inputs)
        columns = shifted.permute(0, 2, 3, 1).flatten(0, 2)
        return columns.reshape(len(columns), layer.groups, -1).permute(1, 0, 2)

    return patches


class _Equations:
    """Normal equations with an intercept, summed over batches in float64: one system for each group of channels."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: list[torch.Tensor] = []

    def add(self, rows: torch.Tensor, error: torch.Tensor) -> None:
        """Take inputs (G, R, K) and what is missing at the outputs, (N, G · C, ...)."""
        flat = error.movedim(1, -1).reshape(rows.shape[1], rows.shape[0], -1).permute(1, 0, 2)
        parts = (rows.sum(1), flat.sum(1), rows.transpose(1, 2) @ rows, rows.transpose(1, 2) @ flat)
        doubles = [part.double() for part in parts]
        self._count += rows.shape[1]
        self._sums = [a + b for a, b in zip(self._sums, doubles, strict=True)] if self._sums else doubles

    def solve(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the change of the weights (G · C, K) and the shift of the outputs (G · C,)."""
        system, cross, rows, errors = self._centred()
        change = torch.linalg.solve(system, cross)
        shift = errors - (rows.unsqueeze(1) @ change).squeeze(1)
        return change.transpose(1, 2).flatten(0, 1), shift.flatten()

    def solve_within(self, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same, with changes only where the mask (G · C, K) is true: each output has a system of its own."""
        system, cross, rows, errors = self._centred()
        outputs = cross.shape[2]
        change = torch.zeros(mask.shape, dtype=torch.float64)
        for output, chosen in enumerate(mask):
            group, position = divmod(output, outputs)
            own = system[group][chosen][:, chosen]
            change[output, chosen] = torch.linalg.solve(own, cross[group, chosen, position])
        shift = errors.flatten() - (change * rows.repeat_interleave(outputs, 0)).sum(1)
        return change, shift

    def _centred(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return damped covariance (G, K, K), covariance with the errors (G, K, C), and both means."""
        rows, errors, squares, products = (part / self._count for part in self._sums)
        covariance = squares - rows.unsqueeze(2) * rows.unsqueeze(1)
        cross = products - rows.unsqueeze(2) * errors.unsqueeze(1)
        ridge = DAMPING * covariance.diagonal(dim1=1, dim2=2).mean(1) + 1e-12
        system = covariance + ridge.view(-1, 1, 1) * torch.eye(covariance.shape[-1], dtype=torch.float64)
        return system, cross, rows, errors


def _norm_after(block: nn.Module, name: str) -> nn.BatchNorm2d:
    """Return the batch normalisation that follows a convolution without a bias of its own."""
    layers = list(block.modules())
    position = layers.index(block.get_submodule(name))
    return next(layer for layer in layers[position:] if isinstance(layer, nn.BatchNorm2d))
