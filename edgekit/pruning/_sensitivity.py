"""What the outputs lose when one group of channels is thinned, measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from edgekit.models import MobileNet
from edgekit.pruning._structure import ChannelGroup, Structure, remove
from edgekit.spec import ModelSpec

# Shares of the channels that stay, at which the loss is measured; between them it is interpolated.
SHARES = (0.125, 0.25, 0.5, 0.75)
_LEAST_KL = 1e-9


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """The loss of one group at several shares of its channels.

    Attributes:
        group: Name of the group.
        channels: Channels left at each point, ascending, the whole last.
        kl: Kullback-Leibler divergence from the unpruned model there, in nats, a mean over the images.
    """

    group: str
    channels: tuple[int, ...]
    kl: tuple[float, ...]

    def curve(self) -> tuple[float, ...]:
        """Return the loss at 0, 1, … all channels: linear between the points, never falling with fewer channels.

        Below the last point it goes on as a power of the count, at least doubling with each halving: a straight line
        would take a layer that can spare most of its channels down to none.
        """
        rising = np.maximum.accumulate(self.kl[::-1])[::-1]
        counts = np.arange(self.channels[-1] + 1)
        values = np.interp(counts, self.channels, rising)
        fewest, next_fewest = self.channels[:2]
        steepness = math.log(max(rising[0], _LEAST_KL) / max(rising[1], _LEAST_KL)) / math.log(next_fewest / fewest)
        below = fewest / np.maximum(counts, 1)
        return tuple((values * np.maximum(below, 1.0) ** max(steepness, 1.0)).tolist())


@torch.no_grad()
def sensitivities(
    module: MobileNet,
    spec: ModelSpec,
    parts: Structure,
    importance: Mapping[str, torch.Tensor],
    batches: Sequence[torch.Tensor],
    *,
    advance: Callable[[int], None] = lambda groups: None,
) -> tuple[Sensitivity, ...]:
    """Thin each group by itself, least important channels first, and compare the outputs with the unpruned ones.

    Source: Li et al. 2017, Pruning Filters for Efficient ConvNets, arXiv 1608.08710, section 3.2.

    Args:
        module: Model; stays as it is.
        spec: Its description.
        parts: Its structure.
        importance: Importance of each channel of each group.
        batches: Preprocessed images float32 (N, 3, H, W); labels are not needed.
        advance: Called after each group.
    """
    reference = [F.log_softmax(module.eval()(batch), 1) for batch in batches]
    result = []
    for group in parts.groups:
        counts = sorted({max(1, round(share * group.channels)) for share in SHARES} - {group.channels})
        losses = []
        for count in counts:
            thinned, _ = remove(module, spec, {group.name: best(group, importance, count)})
            losses.append(_divergence(thinned, batches, reference))
        result.append(Sensitivity(group.name, (*counts, group.channels), (*losses, 0.0)))
        advance(1)
    return tuple(result)


def best(group: ChannelGroup, importance: Mapping[str, torch.Tensor], count: int) -> list[int]:
    """Return the indices of the most important channels of a group, ascending."""
    indices: list[int] = importance[group.name].topk(count).indices.sort().values.tolist()
    return indices


def _divergence(module: MobileNet, batches: Sequence[torch.Tensor], reference: Sequence[torch.Tensor]) -> float:
    total, count = 0.0, 0
    for batch, wanted in zip(batches, reference, strict=True):
        logits = F.log_softmax(module(batch), 1)
        total += float(F.kl_div(logits, wanted, reduction="sum", log_target=True))
        count += len(batch)
    return total / count
