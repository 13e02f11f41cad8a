"""How many channels each group keeps: pure functions from loss curves and costs to channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.errors import PruningError

Cost = Callable[[Sequence[int]], float]


def fewer(channels: int, divisor: int) -> int:
    """Return the next lower count that is a multiple of `divisor`; the same when there is none above 0."""
    lower = (channels - 1) // divisor * divisor
    return lower if lower > 0 else channels


def require_reachable(channels: Sequence[int], cost: Cost, budget: float, divisor: int) -> None:
    """Refuse a budget that the fewest channels exceed, before anything is measured for it.

    Raises:
        PruningError: EK802 when no choice meets the budget.
    """
    smallest = cost([min(count, divisor) for count in channels])
    if smallest > budget:
        raise _unreachable(smallest, budget, cost(channels), divisor)


def allocate(
    channels: Sequence[int], losses: Sequence[Sequence[float]], cost: Cost, budget: float, divisor: int
) -> tuple[int, ...]:
    """Take channels away, `divisor` at a time, where the least is lost for what it saves, until the budget is met.

    Args:
        channels: Channels of each group now.
        losses: For each group the loss when it has 0, 1, … all of its channels, in units that compare across groups.
        cost: Cost of a choice of channels, e.g. multiply-adds; grows with each of them.
        budget: Highest cost allowed.
        divisor: Channel counts become multiples of it, apart from groups that keep all.

    Returns:
        Channels of each group; their cost is at most `budget`.

    Raises:
        PruningError: EK802 when no choice meets the budget.
    """
    current = list(channels)
    spent = cost(current)
    while spent > budget:
        best: tuple[float, int, int, float] | None = None
        for index, count in enumerate(current):
            lower = fewer(count, divisor)
            if lower == count:
                continue
            after = cost([*current[:index], lower, *current[index + 1 :]])
            saved = spent - after
            if saved <= 0:
                continue
            price = (losses[index][lower] - losses[index][count]) / saved
            if best is None or price < best[0]:
                best = (price, index, lower, after)
        if best is None:
            raise _unreachable(cost(current), budget, cost(channels), divisor)
        _, index, current[index], spent = best
    return tuple(current)


def uniform(channels: Sequence[int], cost: Cost, budget: float, divisor: int) -> tuple[int, ...]:
    """Keep the same share of every group, the largest that meets the budget: a width multiplier.

    Raises:
        PruningError: EK802 when no share meets the budget.
    """
    for percent in range(100, 0, -1):
        scaled = [min(count, max(divisor, round(count * percent / 100 / divisor) * divisor)) for count in channels]
        if cost(scaled) <= budget:
            return tuple(scaled)
    raise _unreachable(cost([min(count, divisor) for count in channels]), budget, cost(channels), divisor)


def _unreachable(smallest: float, budget: float, whole: float, divisor: int) -> PruningError:
    return PruningError(
        "EK802",
        f"the budget of {budget / whole:.2f} cannot be met: with {divisor} channels in every layer the cost is still "
        f"{smallest / whole:.3f} of the whole",
        hint="take a larger ratio, or a smaller --divisor",
    )
