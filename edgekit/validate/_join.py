"""Evaluations of parts of a set become the evaluation of all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate._accumulate import ROUNDING, Evaluation, PairedEvaluation


def joined(parts: Sequence[PairedEvaluation]) -> PairedEvaluation:
    """Return the evaluation of all images, in the order of the parts; raises ValueError without a part."""
    return PairedEvaluation(
        _joined([part.baseline for part in parts]),
        _joined([part.candidate for part in parts]),
        np.concatenate([part.kl for part in parts]),
        np.concatenate([part.signal for part in parts]),
        np.concatenate([part.noise for part in parts]),
    )


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    (classes,) = {part.num_classes for part in parts}
    answers = np.concatenate([part.answers for part in parts])
    confidence = np.concatenate([part.confidence for part in parts])
    labels = [part.labels for part in parts if part.labels is not None]
    top5 = [part.top5 for part in parts if part.top5 is not None]
    # Of a part that is one image nobody can tell; but a dead model answers the same with the same confidence for all.
    varies = (
        len(answers) == 1
        or any(part.varies and part.n > 1 for part in parts)
        or bool(np.ptp(answers))
        or float(np.ptp(confidence)) > ROUNDING
    )
    return Evaluation(
        classes, answers, confidence, np.concatenate(labels) if labels else None,
        np.concatenate(top5) if top5 else None, varies,
    )  # fmt: skip
