"""Successive halving on a growing share of the images, decided for one candidate at a time.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning".
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.pipeline.sweep._front import Standing, ranks


def shares(images: int, smallest: int, factor: int) -> tuple[int, ...]:
    """Return the images of each share, the last being all of them."""
    found = []
    share = smallest
    while share < images:
        found.append(share)
        share *= factor
    return (*found, images)


def goes_on(mine: Standing, others: Sequence[Standing], factor: int) -> bool:
    """Tell whether a candidate is worth a larger share of the images.

    It is if it is among the best one in `factor` of all that saw the same share, by the rank of their front; those of
    one front stay together. The first of all goes on.
    """
    found = ranks([*others, mine])
    better = sum(rank < found[-1] for rank in found)
    return better < -(-len(found) // factor)
