"""Which classes lost or gained, told from chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.results import ClassChange
from edgekit.validate._accumulate import PairedEvaluation
from edgekit.validate._significance import LEVEL, holm, mcnemar_exact


def class_name(index: int, class_names: Sequence[str] | None) -> str:
    """Return the name of a class; its index as text where it has none."""
    return str(index) if class_names is None else class_names[index]


def class_changes(pair: PairedEvaluation, class_names: Sequence[str] | None) -> tuple[ClassChange, ...]:
    """Return every class that has images, by index; none without labels.

    The p-values are corrected for the number of classes: of many classes some fall by chance.
    """
    labels, before, after = pair.baseline.labels, pair.baseline.top1, pair.candidate.top1
    if labels is None or before is None or after is None:
        return ()
    counts, right_before, right_after, gained, lost = (
        np.bincount(labels, flags, pair.baseline.num_classes).astype(int).tolist()
        for flags in (None, before, after, after & ~before, before & ~after)
    )
    present = [index for index, count in enumerate(counts) if count]
    corrected = holm([mcnemar_exact(gained[index], lost[index]) for index in present])
    return tuple(
        ClassChange(
            index=index,
            name=class_name(index, class_names),
            n=counts[index],
            baseline_top1=100.0 * right_before[index] / counts[index],
            candidate_top1=100.0 * right_after[index] / counts[index],
            p_value=p_value,
            changed=p_value < LEVEL,
        )
        for index, p_value in zip(present, corrected, strict=True)
    )
