"""Whether a comparison says anything at all: models that answer, and labels that are those of the models.

A refusal needs evidence against the labels from both models. A weak model, a small set or a candidate that
quantization broke is a result, and never refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ComparisonError
from edgekit.validate._accumulate import Evaluation, PairedEvaluation
from edgekit.validate._classes import class_name
from edgekit.validate._significance import Flags, gained_and_lost

# One honest set in a million would be refused, were this its only test.
_CERTAIN: Final = 1e-6
_LEVEL: Final = 0.05
# Softmax overstates: half of what a model claims is what it must reach at least.
_BELIEVED: Final = 0.5
# A renaming of classes must explain at least this share of the images.
_RENAMED_SHARE: Final = 0.1
# Of the images of a class, and of those that get an answer, so many have the other as well.
_MOSTLY: Final = 0.5
_NAMED_IN_MESSAGE: Final = 3


def require_plausible(pair: PairedEvaluation, class_names: Sequence[str] | None) -> None:
    """Refuse a pair from which no verdict follows.

    Raises:
        ComparisonError: EK604 when a model gives the same logits for every image, EK605 when both models contradict
            the labels as only wrong labels explain.
    """
    _require_answers(pair)
    labels = pair.baseline.labels
    if labels is None:
        return
    sides = (pair.baseline, pair.candidate)
    if renamed := _renamed(labels, sides):
        pairs = [
            f"{class_name(own, class_names)} are answered {class_name(other, class_names)}"
            for own, other in renamed[:_NAMED_IN_MESSAGE]
        ]
        more = ", …" if len(renamed) > _NAMED_IN_MESSAGE else ""
        raise ComparisonError(
            "EK605",
            f"the labels look renamed: images labelled {', '.join(pairs)}{more} by both models",
            hint="bring the classes into the order of the models, with a classes.txt at the root of the images",
        )
    if all(_sure_yet_no_better_than_chance(side) for side in sides):
        said = " and ".join(f"{side.accuracy.top1:.1f} % at {_claimed_percent(side):.1f} %" for side in sides)
        raise ComparisonError(
            "EK605",
            f"both models are right no more often than by chance, and sure of their answers all the same ({said})",
            hint="check the labels and the order of the classes (classes.txt), then --mean, --std and --resize",
        )


def _require_answers(pair: PairedEvaluation) -> None:
    for name, side in (("baseline", pair.baseline), ("candidate", pair.candidate)):
        if not side.varies:
            raise ComparisonError(
                "EK604",
                f"the {name} gives the same output for all {side.n:,} images",
                hint="the model is dead, or the images are all the same: export it again, and look at both",
            )


def _renamed(labels: NDArray[np.int32], sides: Sequence[Evaluation]) -> list[tuple[int, int]]:
    """Return which classes both models know under another name: the label and the class that is answered.

    Learnt from every other image and tested on the rest, since a renaming that fits can be found for any images.
    """
    found = None
    for side in sides:
        names = _names(labels[::2], side.answers[::2], side.num_classes)
        rest, answers = labels[1::2], side.answers[1::2]
        if not _is_certain(names[rest] == answers, rest == answers):
            return []
        moved = {(int(own), int(names[own])) for own in np.flatnonzero(names != np.arange(side.num_classes))}
        found = moved if found is None else found & moved
    return sorted(found or ())


def _names(labels: NDArray[np.int32], answers: NDArray[np.int32], classes: int) -> NDArray[np.int64]:
    """Return for each class the answer that mostly goes with it, both ways, or itself where none does.

    Both ways: a weak model that gives one answer for nearly everything gives it to the images of no class mostly.
    """
    from scipy.sparse import coo_array

    counts = coo_array((np.ones(len(labels)), (labels, answers)), shape=(classes, classes)).tocsr()
    answer_of, label_of = (np.asarray(counts.argmax(axis=axis)) for axis in (1, 0))
    own = np.arange(classes)
    both = np.asarray(counts[own, answer_of]).ravel()
    of_label, of_answer = (np.asarray(counts.sum(axis=axis)).ravel() for axis in (1, 0))
    mostly = (both > _MOSTLY * of_label) & (both > _MOSTLY * of_answer[answer_of])
    names: NDArray[np.int64] = np.where(mostly & (label_of[answer_of] == own), answer_of, own)
    return names


def _is_certain(renamed: Flags, given: Flags) -> bool:
    from scipy.stats import binomtest

    gained, lost = gained_and_lost(given, renamed)
    if gained - lost < _RENAMED_SHARE * len(given) or not gained:
        return False
    return float(binomtest(gained, gained + lost, 0.5, alternative="greater").pvalue) < _CERTAIN


def _sure_yet_no_better_than_chance(side: Evaluation) -> bool:
    from scipy.stats import binomtest

    right = int(np.sum(side.answers == side.labels))
    better_than_chance = binomtest(right, side.n, 1 / side.num_classes, alternative="greater").pvalue < _LEVEL
    least = _BELIEVED * _claimed_percent(side) / 100
    return not better_than_chance and float(binomtest(right, side.n, least, alternative="less").pvalue) < _CERTAIN


def _claimed_percent(side: Evaluation) -> float:
    return 100.0 * float(side.confidence.mean())
