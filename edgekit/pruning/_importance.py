"""How much each channel matters: from weights alone, or from gradients on images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
import torch_pruning

from edgekit.models import MobileNet
from edgekit.pruning._structure import ChannelGroup, Structure, library_groups

Importance = Literal["taylor", "l1", "l2", "bn_scale", "fpgm"]

_FROM_WEIGHTS: Mapping[Importance, torch_pruning.importance.Importance] = {
    "l1": torch_pruning.importance.GroupMagnitudeImportance(p=1),
    "l2": torch_pruning.importance.GroupMagnitudeImportance(p=2),
    "bn_scale": torch_pruning.importance.BNScaleImportance(),
    "fpgm": torch_pruning.importance.FPGMImportance(p=2),
}


def from_weights(module: MobileNet, parts: Structure, input_size: int, kind: Importance) -> dict[str, torch.Tensor]:
    """Return the importance of each channel of each group, judged by weights alone; the mean of a group is 1.

    Sources: Li et al. 2017, arXiv 1608.08710 (l1, l2); Liu et al. 2017, arXiv 1708.06519 (bn_scale); He et al. 2019,
    arXiv 1811.00250 (fpgm).
    """
    result = {}
    for group, members in zip(parts.groups, library_groups(module, parts, input_size), strict=True):
        scores = _FROM_WEIGHTS[kind](members)
        result[group.name] = torch.ones(group.channels) if scores is None else scores.detach().abs()
        result[group.name] /= result[group.name].mean().clamp_min(1e-12)
    return result


def from_gradients(
    module: MobileNet,
    parts: Structure,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor | None]],
) -> dict[str, torch.Tensor]:
    """Return the first-order estimate of what the loss changes when a channel goes, squared, a mean over batches.

    The gate is the output of each batch normalisation over the channel: (γ ∂L/∂γ + β ∂L/∂β)², summed over those of
    the group. Without labels the loss is taken at the model's own answers.

    Source: Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, arXiv 1906.10771, Taylor-FO-BN.

    Args:
        module: Model; its gradients are cleared.
        parts: Its structure.
        batches: Preprocessed images float32 (N, 3, H, W) with labels int64 (N,) or None; small batches tell more.
    """
    scores = {group.name: torch.zeros(group.channels) for group in parts.groups}
    count = 0
    module.eval()
    for images, labels in batches:
        module.zero_grad(set_to_none=True)
        logits = module(images)
        answers = logits.argmax(1) if labels is None else labels
        F.cross_entropy(logits, answers).backward()  # type: ignore[no-untyped-call]
        for group in parts.groups:
            scores[group.name] += _gates(module, group)
        count += 1
    module.zero_grad(set_to_none=True)
    return {name: score / max(count, 1) for name, score in scores.items()}


@torch.no_grad()
def _gates(module: MobileNet, group: ChannelGroup) -> torch.Tensor:
    """Return the squared gradient of each channel's gates, summed over them."""
    total = torch.zeros(group.channels)
    # Squeeze-and-excitation and the hidden layer of V3's classifier have no normalisation: their weights are the gate.
    for name in group.norms or group.layers:
        gate = torch.zeros(group.channels)
        for parameter in module.get_submodule(name).parameters():
            assert parameter.grad is not None
            gate += (
                (parameter * parameter.grad).flatten(1).sum(1) if parameter.dim() > 1 else parameter * parameter.grad
            )
        total += gate**2
    return total
