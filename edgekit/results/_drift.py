"""How far a candidate moved from its baseline. Nothing here runs."""

from __future__ import annotations

import dataclasses
from typing import Final

from edgekit.spec import Interval

SQNR_LIMIT_DB: Final = 150.0
"""Bound of every SQNR, in dB. float32 resolves 2**-24, about 145 dB: beyond it two models are the same, and
the ratio of two identical models, which is infinite, would not fit into JSON."""

NO_LIMIT: Final = "no limit was given"


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Share of images that a model classifies as their label says.

    Attributes:
        top1: Percent whose label has the highest logit; None without labels.
        top5: Percent whose label is among the five highest; None without labels and with five classes or
            fewer.
        n: Number of images.
    """

    top1: float | None
    top5: float | None
    n: int


@dataclasses.dataclass(frozen=True)
class Drift:
    """How far a candidate moved from its baseline, each with its 95 % confidence interval.

    Attributes:
        top1_delta_pp: Top-1 of the candidate minus top-1 of the baseline, in percentage points; None without
            labels.
        agreement: Percent of the images on which both give the same top class.
        kl: Mean over the images of KL(softmax of baseline || softmax of candidate), in nats.
        sqnr_db: 10 log10(sum of squared baseline logits / sum of squared differences), in dB,
            within ±`SQNR_LIMIT_DB`: at the limit the two are identical.
        n: Number of images.
    """

    top1_delta_pp: Interval | None
    agreement: Interval
    kl: Interval
    sqnr_db: Interval
    n: int


@dataclasses.dataclass(frozen=True)
class OutputDrift:
    """How far the logits of a device are from others for the same samples.

    Attributes:
        drift: Agreement, KL and SQNR; a bundle's samples have no labels.
        max_abs_difference: Largest absolute difference of any logit.
    """

    drift: Drift
    max_abs_difference: float


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a candidate stays within the limit that it was given, and why.

    The reason ends with `NO_LIMIT` where it was given none.
    """

    passed: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class SampleSize:
    """How many images it takes to show a drop.

    Attributes:
        drop_pp: The drop of top-1 accuracy, in points.
        images: Images that show it with 80 % power, where as large a share of them changes as was measured.
    """

    drop_pp: float
    images: int


@dataclasses.dataclass(frozen=True)
class Significance:
    """Whether the change of top-1 accuracy is more than chance; only images that one side alone gets right tell.

    Attributes:
        gained: Images that the candidate alone gets right.
        lost: Images that the baseline alone gets right.
        p_value: Of McNemar's exact test, two-sided: how likely so unequal a split is if both are equally good.
        bootstrap_pp: The change in percentage points with its paired bootstrap interval.
        detectable_drop_pp: Smallest true drop, in points, that this many images show with 80 % power; None where
            none would.
        needed: Images that a drop asked for takes; None where none was asked for.
    """

    gained: int
    lost: int
    p_value: float
    bootstrap_pp: Interval
    detectable_drop_pp: float | None
    needed: SampleSize | None = None


@dataclasses.dataclass(frozen=True)
class NonInferiority:
    """A one-sided test that the candidate is worse by less than a margin.

    Attributes:
        margin_pp: The margin, in points.
        p_value: How likely the images are if the drop is as large as the margin.
        shown: The test holds at 5 %.
    """

    margin_pp: float
    p_value: float
    shown: bool


@dataclasses.dataclass(frozen=True)
class ClassChange:
    """One class of the labels.

    Attributes:
        index: Index of the class.
        name: Its name; its index as text where it has none.
        n: Images of it.
        baseline_top1: Percent of them that the baseline gets right.
        candidate_top1: The same of the candidate.
        p_value: Of McNemar's exact test, corrected for the number of classes (Holm 1979).
        changed: `p_value` is below 5 %.
    """

    index: int
    name: str
    n: int
    baseline_top1: float
    candidate_top1: float
    p_value: float
    changed: bool


@dataclasses.dataclass(frozen=True)
class Flip:
    """An image that the two sides answer differently.

    Attributes:
        image: Its name in the data set.
        index: Its place among the images evaluated.
        label: Class that it is of; None without labels.
        baseline: Class that the baseline answers.
        candidate: Class that the candidate answers.
        kl: KL(baseline || candidate) of this image, in nats.
    """

    image: str
    index: int
    label: int | None
    baseline: int
    candidate: int
    kl: float


@dataclasses.dataclass(frozen=True)
class DriftDetail:
    """What lies behind the few numbers of a `Drift`.

    Attributes:
        top5_delta_pp: As `Drift.top1_delta_pp`, of the five highest; None where there is no top-5.
        significance: None without labels.
        non_inferiority: None without labels, or without a largest drop allowed.
        baseline_ece: Expected calibration error of the baseline, in percent (15 bins of equal width); None without
            labels.
        candidate_ece: The same of the candidate.
        worst_kl: Largest KL of any image, in nats.
        worst_kl_image: Its name.
        classes: Every class that has images, by index; empty without labels.
        flips: Every image that the two answer differently, the largest KL first.
    """

    top5_delta_pp: Interval | None
    significance: Significance | None
    non_inferiority: NonInferiority | None
    baseline_ece: float | None
    candidate_ece: float | None
    worst_kl: float
    worst_kl_image: str
    classes: tuple[ClassChange, ...]
    flips: tuple[Flip, ...]
