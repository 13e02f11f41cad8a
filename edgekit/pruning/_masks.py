"""Pruning of single weights: the model keeps its shape, and its files pack smaller."""

from __future__ import annotations

import copy
import dataclasses
import zipfile
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from edgekit.errors import PruningError, UsageError
from edgekit.models import MobileNet
from edgekit.pruning._repair import Repair, no_images, reestimate, repair

# Two of four neighbours along the input channels: what sparse tensor cores skip (NVIDIA Ampere architecture).
KEPT, BLOCK = 2, 4


@dataclasses.dataclass(frozen=True)
class Masked:
    """A model with weights set to zero.

    Attributes:
        module: The model in eval mode.
        zeros: Weights of convolutions and linear layers that are zero.
        weights: All of them.
        layers: Names of the layers that were pruned.
        refused: Name of each layer that was not, with the reason.
        packed: Bytes of the checkpoint in a zip before and after.
    """

    module: MobileNet
    zeros: int
    weights: int
    layers: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    packed: tuple[int, int]


def prune_unstructured(module: MobileNet, amount: float) -> Masked:
    """Set the smallest weights of all convolutions and linear layers to zero, whatever layer they are in.

    Args:
        module: Model; stays as it is.
        amount: Share of the weights, above 0 and below 1.

    Raises:
        UsageError: EK001 when the share is out of its range.
        PruningError: EK803 when a layer would be left without weights.
    """
    if not 0.0 < amount < 1.0:
        raise UsageError("EK001", f"the share is {amount}", where="--amount", hint="take more than 0 and less than 1")
    thinned = copy.deepcopy(module).eval()
    layers = dict(_weighted(thinned))
    parameters = [(layer, "weight") for layer in layers.values()]
    torch_prune.global_unstructured(parameters, torch_prune.L1Unstructured, amount=amount)
    for name, layer in layers.items():
        torch_prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        if not bool(layer.weight.any()):
            raise PruningError("EK803", "no weight of the layer would be left", where=name, hint="take a smaller share")
    return _masked(module, thinned, tuple(layers), ())


@torch.no_grad()
def prune_two_of_four(module: MobileNet) -> Masked:
    """Keep the two largest of each four neighbouring weights along the input channels, where the pattern pays.

    Depthwise layers have one input channel to a filter, so there is nothing along it to skip; the stem's three are no
    multiple of four.

    Args:
        module: Model; stays as it is.
    """
    thinned = copy.deepcopy(module).eval()
    pruned, refused = [], []
    for name, layer in _weighted(thinned):
        reason = _unfit(layer)
        if reason:
            refused.append((name, reason))
            continue
        layer.weight.copy_(two_of_four(layer.weight))
        pruned.append(name)
    return _masked(module, thinned, tuple(pruned), tuple(refused))


def two_of_four(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight (outputs, inputs, ...) with the two smaller of each four along the inputs set to zero."""
    last = weight.movedim(1, -1)
    blocks = last.reshape(*last.shape[:-1], -1, BLOCK)
    kept = blocks.abs().topk(KEPT, dim=-1).indices
    mask = torch.zeros_like(blocks).scatter_(-1, kept, 1.0)
    return (blocks * mask).reshape(last.shape).movedim(-1, 1)


def _unfit(layer: nn.Conv2d | nn.Linear) -> str:
    """Say why sparse tensor cores cannot take a layer; empty when they can."""
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return "depthwise: one input channel to a filter"
    inputs = layer.weight.shape[1]
    return "" if inputs % BLOCK == 0 else f"{inputs} input channels are no multiple of {BLOCK}"


def _weighted(module: MobileNet) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            yield name, layer


def _masked(
    before: MobileNet, after: MobileNet, layers: tuple[str, ...], refused: tuple[tuple[str, str], ...]
) -> Masked:
    tensors = [layer.weight for _, layer in _weighted(after)]
    zeros = sum(int((tensor == 0).sum()) for tensor in tensors)
    weights = sum(tensor.numel() for tensor in tensors)
    return Masked(after, zeros, weights, layers, refused, (packed_size(before), packed_size(after)))


def packed_size(module: nn.Module) -> int:
    """Return the bytes of a module's checkpoint in a zip archive (deflate)."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", safetensors.torch.save(dict(module.state_dict())))
    return len(buffer.getvalue())


def recover_masked(
    original: MobileNet,
    masked: Masked,
    recover: Repair,
    images: Sequence[torch.Tensor],
    *,
    advance: Callable[[int], None] = lambda blocks: None,
) -> Masked:
    """Bring a model with zeros back towards the original; its zeros stay where they are.

    Args:
        original: The model before.
        masked: The model after; its module is changed in place.
        recover: `bn` measures normalisations anew, `repair` refits the weights that are left, in 2:4 layers alone.
        images: Batches of preprocessed images float32 (N, 3, H, W).
        advance: Called after each block of a repair.

    Raises:
        PruningError: EK804 when there are no images.
    """
    if recover == "none":
        return masked
    if not images:
        raise no_images(f"--recover {recover} needs")
    if recover == "bn":
        reestimate(masked.module, images)
        return masked
    weights = {name: layer.weight.detach() for name, layer in _weighted(masked.module)}
    masks = {name: weights[name].flatten(1) != 0 for name in masked.layers}
    repair(original, masked.module, {}, images, masks=masks, advance=advance)
    return masked
