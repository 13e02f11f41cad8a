"""Structured pruning: whole channels, so that the model is really smaller everywhere it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch

from edgekit.errors import UsageError
from edgekit.models import MobileNet
from edgekit.pruning._allocate import Cost, allocate, require_reachable, uniform
from edgekit.pruning._importance import Importance, from_gradients, from_weights
from edgekit.pruning._latency import measured
from edgekit.pruning._repair import Repair, no_images, reestimate, repair
from edgekit.pruning._sensitivity import Sensitivity, best, sensitivities
from edgekit.pruning._structure import Structure, remove, structure
from edgekit.spec import ModelSpec
from edgekit.targets import CHANNEL_MULTIPLE

Widths = Literal["sensitivity", "uniform"]
CostKind = Literal["macs", "params", "latency"]

# Enough to rank groups; every one of them is measured at several widths.
SENSITIVITY_IMAGES = 96


@dataclasses.dataclass(frozen=True)
class Structured:
    """How to prune channels.

    Attributes:
        cost: What the ratio is of.
        ratio: Cost after over cost before, above 0 and below 1.
        importance: What decides which channels of a group stay.
        widths: What decides how many: `sensitivity` takes more where the outputs are measured to suffer less, and
            none down to a bottleneck; `uniform` the same share everywhere.
        divisor: Channel counts become multiples of it.
        recover: `bn` measures normalisations anew, `repair` refits every layer; neither needs labels.
    """

    cost: CostKind
    ratio: float
    importance: Importance = "taylor"
    widths: Widths = "sensitivity"
    divisor: int = CHANNEL_MULTIPLE
    recover: Repair = "repair"


@dataclasses.dataclass(frozen=True)
class Pruned:
    """A pruned model.

    Attributes:
        module: The model in eval mode.
        spec: Its description.
        before: Channels of each group before.
        after: Channels of each group after.
        groups: Name of each group.
        macs: Multiply-adds of one image before and after.
        parameters: Parameters before and after.
        cost: What the ratio is of, before and after; for `latency` in seconds, by its layers.
        sensitivities: The measured curves; empty where widths are uniform.
    """

    module: MobileNet
    spec: ModelSpec
    groups: tuple[str, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    macs: tuple[int, int]
    parameters: tuple[int, int]
    cost: tuple[float, float]
    sensitivities: tuple[Sensitivity, ...]


def prune_channels(
    module: MobileNet,
    spec: ModelSpec,
    how: Structured,
    images: Sequence[torch.Tensor],
    labels: Sequence[torch.Tensor] | None = None,
    *,
    clock: Callable[[Structure], Cost] = measured,
    start: Callable[[str, int | None], Callable[[int], None]] = lambda title, total: lambda amount: None,
) -> Pruned:
    """Prune channels down to a budget.

    Args:
        module: Model; stays as it is.
        spec: Its description.
        how: What to prune, how much, and what to do about it afterwards.
        images: Batches of preprocessed images float32 (N, 3, H, W), a few hundred in all; may be empty where nothing
            needs them.
        labels: Labels int64 (N,) of each batch for `taylor`; None takes the model's own answers.
        clock: Makes the cost of a choice of channels where the ratio is of the time per frame; by default layers are
            timed on this machine.
        start: Begins a progress bar and returns what advances it.

    Raises:
        UsageError: EK001 when an option is out of its range.
        PruningError: EK801 to EK804.
    """
    _check(how, images)
    parts = structure(module, spec.input_size)
    costs: dict[CostKind, Callable[[], Cost]] = {
        "macs": lambda: parts.macs,
        "params": lambda: parts.parameters,
        "latency": lambda: clock(parts),
    }
    cost = costs[how.cost]()
    budget = how.ratio * cost(parts.channels)
    require_reachable(parts.channels, cost, budget, how.divisor)
    importance = _importance(module, spec, parts, how, images, labels)
    curves: tuple[Sensitivity, ...] = ()
    if how.widths == "uniform":
        after = uniform(parts.channels, cost, budget, how.divisor)
    else:
        advance = start("sensitivity", len(parts.groups))
        some = images[: max(1, SENSITIVITY_IMAGES // len(images[0]))]
        curves = sensitivities(module, spec, parts, importance, some, advance=advance)
        after = allocate(parts.channels, [curve.price() for curve in curves], cost, budget, how.divisor)
    kept = {
        group.name: best(group, importance, count)
        for group, count in zip(parts.groups, after, strict=True)
        if count < group.channels
    }
    pruned, smaller = remove(module, spec, kept)
    if how.recover == "bn":
        reestimate(pruned, images)
    elif how.recover == "repair":
        outputs = {
            layer.name: kept[name]
            for layer in parts.layers
            if layer.outputs is not None and (name := parts.groups[layer.outputs].name) in kept
        }
        advance = start("repair", len(module.features) + 1)
        repair(module, pruned, outputs, images, advance=advance)
    return Pruned(
        pruned, smaller, tuple(group.name for group in parts.groups), parts.channels, after,
        (parts.macs(parts.channels), parts.macs(after)), (parts.parameters(parts.channels), parts.parameters(after)),
        (cost(parts.channels), cost(after)), curves,
    )  # fmt: skip


def _check(how: Structured, images: Sequence[torch.Tensor]) -> None:
    if not 0.0 < how.ratio < 1.0:
        raise UsageError(
            "EK001", f"the ratio is {how.ratio}", where=f"--{how.cost}", hint="take more than 0 and less than 1"
        )
    if how.divisor < 1:
        raise UsageError("EK001", f"the divisor is {how.divisor}", where="--divisor", hint="take 1 or more")
    needs = [
        what
        for what, needed in (
            (f"--recover {how.recover}", how.recover != "none"),
            ("--importance taylor", how.importance == "taylor"),
            ("--widths sensitivity", how.widths == "sensitivity"),
        )
        if needed
    ]
    if needs and not images:
        raise no_images(f"{' and '.join(needs)} {'need' if len(needs) > 1 else 'needs'}")


def _importance(
    module: MobileNet,
    spec: ModelSpec,
    parts: Structure,
    how: Structured,
    images: Sequence[torch.Tensor],
    labels: Sequence[torch.Tensor] | None,
) -> dict[str, torch.Tensor]:
    if how.importance != "taylor":
        return from_weights(module, parts, spec.input_size, how.importance)
    pairs: Iterable[tuple[torch.Tensor, torch.Tensor | None]]
    pairs = ((batch, None) for batch in images) if labels is None else zip(images, labels, strict=True)
    return from_gradients(module, parts, pairs)
