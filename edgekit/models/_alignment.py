"""Finding which layer of a checkpoint is which layer of a model, from order and shapes alone.

The model's layers stand in forward order. The checkpoint's stand in no order that can be relied on, but
their names say part of it: `blocks.2` runs before `blocks.10`, `bn1` before `bn2`. What names leave open
(`depthwise` or `pointwise` first?) the shapes decide: a backtracking search lays the checkpoint's layers
along the model's, never against the order of the names. It goes on to look for a second way, because a layout
that fits in two ways would load without an error and compute nonsense.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from edgekit.models._layers import Layer

# Placements tried in one search: layouts of MobileNet take some hundred; what takes this many is none.
_BUDGET = 5_000

Assignment = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a search takes the names to mean.

    Always: purely numeric names (`features.3`) run in order; everything below one name runs before everything
    below its sibling, and alike in all blocks that hold the same names.

    Attributes:
        numbered_names: Names that differ in a number only (`bn1`, `bn2`) run in the order of the numbers.
        parallel_lists: `convs.3` and `norms.3` both run before `convs.4` and `norms.4`.
        partners: A normalisation follows the convolution beside it whose name has the most words in common.
    """

    numbered_names: bool = True
    parallel_lists: bool = False
    partners: bool = False


# The first suits nearly every layout; the second those that have `conv3x3` before `conv1x1`.
_RULES = (Rules(), Rules(numbered_names=False), Rules(parallel_lists=True))


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The outcome of a search.

    Attributes:
        assignments: For each layer of the model, the index of the checkpoint's; more than one when ambiguous.
        reach: How many layers of the model could be filled in the best attempt.
        left: The checkpoint's layers that stood next at that point (indices); empty when all were used.
    """

    assignments: tuple[Assignment, ...]
    reach: int
    left: tuple[int, ...]

    @property
    def conflict(self) -> int:
        """The first layer of the model in which the first two assignments differ."""
        first, second = self.assignments[:2]
        return next(index for index, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1])


def align(wanted: Sequence[Layer], found: Sequence[Layer], *, file_order_tells: bool) -> Alignment:
    """Lay the layers found in a checkpoint along those of a model.

    Args:
        wanted: The model's layers in forward order.
        found: The checkpoint's layers in file order.
        file_order_tells: Whether the file order can be that of the code; false when names are merely sorted.

    Returns:
        One assignment, or none (nothing fits), or two (the checkpoint can be read in two ways).
    """
    failures = []
    for rules in _RULES:
        result = _Search(wanted, found, rules).run()
        if len(result.assignments) > 1:
            return _decide(wanted, found, rules, result, file_order_tells)
        if result.assignments:
            return result
        failures.append(result)
    return max(failures, key=lambda failure: failure.reach)


def is_sorted(names: Sequence[str]) -> bool:
    """Whether names stand in alphabetical order, with or without regard to numbers: that tells nothing of code."""
    return any(list(names) == sorted(names, key=key) for key in (str, _natural))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _decide(
    wanted: Sequence[Layer],
    found: Sequence[Layer],
    rules: Rules,
    ambiguous: Alignment,
    file_order_tells: bool,
) -> Alignment:
    """Where shapes and numbers leave a choice, let words in common decide, then the order of the file."""
    paired = _Search(wanted, found, dataclasses.replace(rules, partners=True))
    result = paired.run()
    if len(result.assignments) == 1:
        return result
    search = paired if result.assignments else _Search(wanted, found, rules)
    in_file_order = _file_order(wanted, found)
    if file_order_tells and in_file_order is not None and search.permits(in_file_order):
        return dataclasses.replace(ambiguous, assignments=(in_file_order,))
    return result if result.assignments else ambiguous


def _file_order(wanted: Sequence[Layer], found: Sequence[Layer]) -> Assignment | None:
    """Assign by file order, each kind for itself: code often registers normalisations last."""
    queues = {kind: [i for i, layer in enumerate(found) if layer.kind == kind] for kind in ("weight", "norm")}
    if len(wanted) != len(found) or len(queues["norm"]) != sum(layer.kind == "norm" for layer in wanted):
        return None
    iterators = {kind: iter(queue) for kind, queue in queues.items()}
    return tuple(next(iterators[layer.kind]) for layer in wanted)


class _Search:
    """Backtracking over the positions of the model, with the names' order as the constraint."""

    def __init__(self, wanted: Sequence[Layer], found: Sequence[Layer], rules: Rules) -> None:
        self._wanted = wanted
        self._found = found
        self._relations = _Relations([layer.path for layer in found], rules)
        self._partner = _partners(found) if rules.partners else {}
        self._order: list[int] = []
        self._facts: dict[_Fact, bool] = {}
        self._steps = 0
        self._assignments: list[Assignment] = []
        self._reach = -1
        self._left: tuple[int, ...] = ()

    def run(self) -> Alignment:
        self._extend(frozenset(range(len(self._found))))
        # A search that was cut short cannot vouch that its one assignment is the only one.
        cut_short = self._steps > _BUDGET and len(self._assignments) == 1
        return Alignment(() if cut_short else tuple(self._assignments), self._reach, self._left)

    def permits(self, assignment: Assignment) -> bool:
        """Whether the search could have come to this assignment."""
        left = frozenset(assignment)
        self._order, self._facts = [], {}
        for index in assignment:
            if index not in self._ready(left) or not self._may_come(index, left) or self._place(index, left) is None:
                return False
            left -= {index}
        return True

    def _extend(self, left: frozenset[int]) -> None:
        position = len(self._order)
        ready = self._ready(left)
        if position > self._reach:
            self._reach, self._left = position, tuple(ready)
        if position == len(self._wanted):
            if not left:
                self._assignments.append(tuple(self._order))
            return
        for index in ready:
            if len(self._assignments) > 1 or self._steps > _BUDGET:
                return
            if not self._may_come(index, left):
                continue
            learned = self._place(index, left)
            if learned is None:
                continue
            self._extend(left - {index})
            self._order.pop()
            for fact in learned:
                del self._facts[fact]

    def _ready(self, left: frozenset[int]) -> list[int]:
        return [index for index in sorted(left) if self._relations.before[index].isdisjoint(left)]

    def _may_come(self, index: int, left: frozenset[int]) -> bool:
        position = len(self._order)
        if not self._wanted[position].fits(self._found[index]):
            return False
        partner = self._partner.get(index)
        return partner is None or (position > 0 and self._order[-1] == partner)

    def _place(self, index: int, left: frozenset[int]) -> list[_Fact] | None:
        """Put a layer next; return what that says about the order of names, None if that cannot be."""
        self._steps += 1
        learned: list[_Fact] = []
        for other, (fact, holds) in self._relations.free[index].items():
            if other not in left:
                continue
            known = self._facts.get(fact)
            if known is None:
                self._facts[fact] = holds
                learned.append(fact)
            elif known != holds:
                for undone in learned:
                    del self._facts[undone]
                return None
        self._order.append(index)
        return learned


# Two sibling names and all names beside them. It holds when the first of the two runs before the second.
_Fact = tuple[frozenset[str], str, str]


class _Relations:
    """What names say about each pair of layers: an order, or which fact would decide it."""

    def __init__(self, paths: Sequence[tuple[str, ...]], rules: Rules) -> None:
        self.before: list[frozenset[int]] = []
        self.free: list[dict[int, tuple[_Fact, bool]]] = [{} for _ in paths]
        siblings: dict[tuple[str, ...], set[str]] = {}
        for path in paths:
            for depth, name in enumerate(path):
                siblings.setdefault(path[:depth], set()).add(name)
        frozen = {parent: frozenset(names) for parent, names in siblings.items()}
        for index, path in enumerate(paths):
            earlier: set[int] = set()
            for other, other_path in enumerate(paths):
                if other == index:
                    continue
                depth = _divergence(path, other_path)
                order = _compare(path[depth:], other_path[depth:], rules)
                if order > 0:
                    earlier.add(other)
                elif order == 0:
                    first, second = path[depth], other_path[depth]
                    fact = (frozen[path[:depth]], min(first, second), max(first, second))
                    self.free[index][other] = (fact, first < second)
            self.before.append(frozenset(earlier))


def _divergence(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    shorter = min(len(first), len(second))
    return next((depth for depth in range(shorter) if first[depth] != second[depth]), shorter)


def _compare(first: tuple[str, ...], second: tuple[str, ...], rules: Rules) -> int:
    """Compare paths below their common part: below 0 when the first runs before, 0 when names do not say."""
    if not first or not second:
        return len(first) - len(second)
    one, other = first[0], second[0]
    same_but_numbers = rules.numbered_names and _without_numbers(one) == _without_numbers(other)
    if not same_but_numbers and not (one.isdecimal() and other.isdecimal()):
        in_lists = rules.parallel_lists and all(path[1:2] and path[1].isdecimal() for path in (first, second))
        return _sign([int(first[1])], [int(second[1])]) if in_lists else 0
    return _sign(_numbers(one), _numbers(other))


def _sign(first: list[int], second: list[int]) -> int:
    return int(first > second) - int(first < second)


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _partners(found: Sequence[Layer]) -> Mapping[int, int]:
    """For each normalisation, the one convolution beside it that has the most words in common with it."""
    partners = {}
    for index, norm in enumerate(found):
        if norm.kind != "norm":
            continue
        overlaps = [
            (len(_words(norm) & _words(layer)), other)
            for other, layer in enumerate(found)
            if layer.kind == "weight" and layer.path[:-1] == norm.path[:-1]
        ]
        best = max(overlaps, default=(0, -1))[0]
        nearest = [other for overlap, other in overlaps if overlap == best]
        if best > 0 and len(nearest) == 1:
            partners[index] = nearest[0]
    return partners


def _words(layer: Layer) -> frozenset[str]:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", layer.path[-1])
    return frozenset(word.lower() for word in words)
