"""What the outputs lose when one group of channels is thinned, measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from edgekit.models import MobileNet
from edgekit.pruning._structure import ChannelGroup, Structure, remove
from edgekit.spec import ModelSpec

# Shares of the channels that stay, at which the loss is measured.
SHARES = (0.125, 0.25, 0.5, 0.75)
# Channels that nothing reads cost next to nothing, but not nothing: the others' prices stay comparable.
_LEAST_KL = 1e-8
# Weighs groups: 1/2 is better at a quarter of the multiply-adds, 1 at four fifths; docs/pruning.md has the figures.
_TEMPER = 0.75


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

    def price(self) -> tuple[float, ...]:
        """Return what it costs to keep only 0, 1, … all channels, in units that compare across groups.

        It is the measured loss to the power 3/4, linear between the points and never falling with fewer channels; but
        from each point on it grows at least with the inverse square of the share that stays. Without the second a layer
        whose outputs are ruined already would lose the rest of its channels for nothing, and become a bottleneck that
        neither repair nor training opens (docs/pruning.md, Measured).
        """
        points, losses = np.asarray(self.channels), np.maximum(self.kl, _LEAST_KL)
        counts = np.arange(points[-1] + 1)
        growth = (points[-1] / np.maximum(counts, 1)) ** 2 - 1.0
        tempered = np.maximum.accumulate(losses[::-1])[::-1] ** _TEMPER * (points < points[-1])
        steepness = tempered / np.where(tempered > 0, growth[points], 1.0)
        steepest_so_far = np.maximum.accumulate(steepness[::-1])[::-1]
        grown = growth * steepest_so_far[np.searchsorted(points, counts)]
        return tuple(np.maximum(np.interp(counts, points, tempered), grown).tolist())


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
