"""What lies behind the few numbers of a drift: significance, calibration, classes, single images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.results import DriftDetail, Flip, SampleSize, Significance
from edgekit.spec import Interval
from edgekit.validate._accumulate import PairedEvaluation
from edgekit.validate._calibration_error import expected_calibration_error
from edgekit.validate._classes import class_changes
from edgekit.validate._significance import (
    detectable_drop_points,
    gained_and_lost,
    images_needed,
    mcnemar_exact,
    non_inferiority,
    paired_bootstrap_points,
)
from edgekit.validate._statistics import paired_difference_points


def drift_detail(
    pair: PairedEvaluation,
    names: Sequence[str],
    class_names: Sequence[str] | None,
    max_drop: float | None,
    *,
    need: float | None = None,
    seed: int = 0,
) -> DriftDetail:
    """Return what lies behind a drift.

    Args:
        pair: What both sides did.
        names: Name of each image.
        class_names: Name of each class; None where they are not known.
        max_drop: Margin of the non-inferiority test, in points; None tests none.
        need: A drop in points, of which to say how many images show it; None says nothing.
        seed: Seed of the bootstrap.
    """
    before, after = pair.baseline.top1, pair.candidate.top1
    significance = margin = ece = None
    if before is not None and after is not None:
        changed = (*gained_and_lost(before, after), len(before))
        significance = _significance(*changed, need, seed)
        margin = None if max_drop is None else non_inferiority(*changed, margin_pp=max_drop)
        ece = (
            expected_calibration_error(pair.baseline.confidence, before),
            expected_calibration_error(pair.candidate.confidence, after),
        )
    worst = int(np.argmax(pair.kl))
    return DriftDetail(
        top5_delta_pp=_top5_delta(pair),
        significance=significance,
        non_inferiority=margin,
        baseline_ece=ece[0] if ece else None,
        candidate_ece=ece[1] if ece else None,
        worst_kl=float(pair.kl[worst]),
        worst_kl_image=names[worst],
        classes=class_changes(pair, class_names),
        flips=_flips(pair, names),
    )


def _significance(gained: int, lost: int, images: int, need: float | None, seed: int) -> Significance:
    discordant = (gained + lost) / images
    return Significance(
        gained=gained,
        lost=lost,
        p_value=mcnemar_exact(gained, lost),
        bootstrap_pp=paired_bootstrap_points(gained, lost, images, seed=seed),
        detectable_drop_pp=detectable_drop_points(images, discordant),
        needed=None if need is None else SampleSize(need, images_needed(need / 100, discordant)),
    )


def _top5_delta(pair: PairedEvaluation) -> Interval | None:
    before, after = pair.baseline.top5, pair.candidate.top5
    if before is None or after is None:
        return None
    return paired_difference_points(*gained_and_lost(before, after), len(before))


def _flips(pair: PairedEvaluation, names: Sequence[str]) -> tuple[Flip, ...]:
    """Return every image that the two answer differently, the largest KL first."""
    rows = np.flatnonzero(~pair.agrees)
    labels = pair.baseline.labels
    return tuple(
        Flip(
            image=names[row],
            index=int(row),
            label=None if labels is None else int(labels[row]),
            baseline=int(pair.baseline.answers[row]),
            candidate=int(pair.candidate.answers[row]),
            kl=float(pair.kl[row]),
        )
        for row in rows[np.argsort(-pair.kl[rows], kind="stable")]
    )
