"""Which candidates are worth having: pure decisions on what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Standing:
    """What a candidate is compared by.

    Attributes:
        losses: Objectives, each to be made small.
        excess: Sum of what its limits are broken by, as shares of them; 0 where it keeps all.
    """

    losses: tuple[float, ...]
    excess: float = 0.0


def dominates(first: Standing, second: Standing) -> bool:
    """Tell whether the first is better beyond question.

    A candidate that keeps its limits is better than one that does not; of two that do not, the one that breaks them by
    less; of two that do, one that is nowhere worse and somewhere better (Deb et al. 2002, "A fast and elitist
    multiobjective genetic algorithm: NSGA-II", constrained domination).
    """
    if first.excess or second.excess:
        return first.excess < second.excess
    pairs = list(zip(first.losses, second.losses, strict=True))
    return all(mine <= other for mine, other in pairs) and any(mine < other for mine, other in pairs)


def front(standings: Sequence[Standing]) -> list[int]:
    """Return the places of those that keep their limits and that none dominates; of equals the first."""
    feasible = [place for place, standing in enumerate(standings) if not standing.excess]
    chosen: list[int] = []
    # In this order none is dominated by one that comes later.
    for place in sorted(feasible, key=lambda place: (standings[place].losses, place)):
        mine = standings[place]
        if not any(standings[other] == mine or dominates(standings[other], mine) for other in chosen):
            chosen.append(place)
    return sorted(chosen)


def ranks(standings: Sequence[Standing]) -> list[int]:
    """Return the rank of each: 0 where none dominates it, 1 where only those of rank 0 do, and so on.

    The fast non-dominated sort of Deb et al. 2002.
    """
    beaten = [[place for place, other in enumerate(standings) if dominates(mine, other)] for mine in standings]
    beaters = [0] * len(standings)
    for places in beaten:
        for place in places:
            beaters[place] += 1
    found = [0] * len(standings)
    following = [place for place, count in enumerate(beaters) if not count]
    rank = 0
    while following:
        current, following = following, []
        for place in current:
            found[place] = rank
            for other in beaten[place]:
                beaters[other] -= 1
                if not beaters[other]:
                    following.append(other)
        rank += 1
    return found


def area_under(points: Sequence[tuple[float, float]]) -> float:
    """Return the area under a front, between 0 and 1: the larger, the better the front.

    It is the hypervolume in a box from no accuracy and the cost of the baseline to all accuracy and no cost.

    Args:
        points: Share of the images that is right (or that agrees), and cost over the baseline's.
    """
    area, reached = 0.0, 0.0
    # From the dearest down: what a point adds is what lies left of the next dearer one.
    for gain, cost in sorted(points, key=lambda point: (-point[0], point[1])):
        width = 1.0 - min(max(cost, 0.0), 1.0)
        area += gain * max(0.0, width - reached)
        reached = max(reached, width)
    return area
