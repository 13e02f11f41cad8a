"""Evaluations of parts of a set become the evaluation of all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate._accumulate import Evaluation, Flags, PairedEvaluation


def joined(parts: Sequence[PairedEvaluation]) -> PairedEvaluation:
    """Return the evaluation of all images, in the order of the parts; raises ValueError without a part."""
    return PairedEvaluation(
        _joined([part.baseline for part in parts]),
        _joined([part.candidate for part in parts]),
        np.concatenate([part.agrees for part in parts]),
        np.concatenate([part.kl for part in parts]),
        np.concatenate([part.signal for part in parts]),
        np.concatenate([part.noise for part in parts]),
    )


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    (classes,) = {part.num_classes for part in parts}
    top1 = _concatenated([part.top1 for part in parts])
    return Evaluation(classes, top1, _concatenated([part.top5 for part in parts]), sum(part.n for part in parts))


def _concatenated(flags: Sequence[Flags | None]) -> Flags | None:
    present = [part for part in flags if part is not None]
    return np.concatenate(present) if present else None
