"""The lower parts of the page, as text: images that flipped, classes, findings and the machine."""

from __future__ import annotations

import base64
import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from edgekit.report.html._shown import Shown, first
from edgekit.results import Cause, ClassChange, Comparison, DriftDetail, Finding, Flip

_MOST_FLIPS: Final = 24
_MOST_PAIRS: Final = 20
_MOST_CLASSES: Final = 20
_CAUSES: Final[dict[Cause, str]] = {
    "clipped-range": "Range is clipped",
    "wide-range": "Range is too wide",
    "outlier-channel": "One channel is far larger than the others",
    "per-tensor-weights": "Weights share one scale for all channels",
    "bias-shift": "Outputs are shifted",
    "hard-swish-tail": "Hard-swish has a tail that int8 cannot hold",
    "squeeze-excite-product": "The product of squeeze-and-excitation loses precision",
    "dead-channel": "Channels are dead",
    "preprocessing-mismatch": "The images were prepared differently",
}


@dataclasses.dataclass(frozen=True)
class FlipCard:
    """An image that flipped, with its picture as a data URI; None where it has none."""

    image: str
    picture: str | None
    label: str | None
    baseline: str
    candidate: str
    effect: str
    kl: str


@dataclasses.dataclass(frozen=True)
class Pair:
    """Images that went from one answer to another."""

    baseline: str
    candidate: str
    images: int
    lost: int
    gained: int


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """What both reach on the images of one class."""

    name: str
    images: str
    baseline: str
    candidate: str
    change: str
    p_value: str
    changed: bool


@dataclasses.dataclass(frozen=True)
class FindingCard:
    """A cause, and what to do about it."""

    title: str
    cause: str
    layer: str
    evidence: str
    fix: str
    share: str


def shown_flips(detail: DriftDetail) -> tuple[Flip, ...]:
    """Return the images that the page shows a picture of."""
    return detail.flips[:_MOST_FLIPS]


def flip_cards(comparison: Comparison, thumbnails: Mapping[int, bytes]) -> list[FlipCard]:
    """Return the flips that are shown; `thumbnails` are JPEG files by `Flip.index`."""
    return [_flip_card(flip, comparison, thumbnails.get(flip.index)) for flip in shown_flips(comparison.detail)]


def _flip_card(flip: Flip, comparison: Comparison, jpeg: bytes | None) -> FlipCard:
    return FlipCard(
        image=flip.image,
        picture=None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        label=None if flip.label is None else _class_name(comparison, flip.label),
        baseline=_class_name(comparison, flip.baseline),
        candidate=_class_name(comparison, flip.candidate),
        effect=_effect(flip),
        kl=f"{flip.kl:#.2g}",
    )


def _effect(flip: Flip) -> str:
    if flip.label == flip.baseline:
        return "lost"
    if flip.label == flip.candidate:
        return "gained"
    return "changed"


def _class_name(comparison: Comparison, index: int) -> str:
    names = comparison.class_names
    return names[index] if names is not None and index < len(names) else f"class {index}"


def pairs(comparison: Comparison) -> Shown[Pair]:
    """Return how many images went from which answer to which, the most frequent first."""
    groups: dict[tuple[int, int], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for flip in comparison.detail.flips:
        groups[flip.baseline, flip.candidate][_effect(flip)] += 1
    ordered = sorted(groups.items(), key=lambda group: (-group[1].total(), group[0]))
    return first(
        [
            Pair(
                baseline=_class_name(comparison, baseline),
                candidate=_class_name(comparison, candidate),
                images=effects.total(),
                lost=effects["lost"],
                gained=effects["gained"],
            )
            for (baseline, candidate), effects in ordered
        ],
        _MOST_PAIRS,
    )


def class_rows(classes: Sequence[ClassChange]) -> Shown[ClassRow]:
    """Return the classes that changed most, what really changed first."""
    ordered = sorted(
        classes, key=lambda row: (not row.changed, -abs(row.candidate_top1 - row.baseline_top1), row.index)
    )
    return first([_class_row(row) for row in ordered], _MOST_CLASSES)


def _class_row(row: ClassChange) -> ClassRow:
    change = row.candidate_top1 - row.baseline_top1
    return ClassRow(
        name=row.name,
        images=f"{row.n:,}",
        baseline=f"{row.baseline_top1:.2f}",
        candidate=f"{row.candidate_top1:.2f}",
        change=f"{change:+.2f}" if change else "0.00",
        p_value="< 0.001" if row.p_value < 0.001 else f"{row.p_value:.3f}",
        changed=row.changed,
    )


def finding_cards(findings: Sequence[Finding]) -> list[FindingCard]:
    """Return the findings as they were found."""
    return [
        FindingCard(
            title=_CAUSES[finding.cause],
            cause=finding.cause,
            layer=finding.layer,
            evidence=finding.evidence,
            fix=finding.fix,
            share="" if finding.share is None else f"{finding.share:.0f} % of the mean KL",
        )
        for finding in findings
    ]


def machine_rows(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what is known of the machine; what the system does not tell is said so."""
    machine = comparison.machine
    frequency, load = machine.frequency_mhz, machine.load_average
    unknown = "not told by the system"
    return [
        ("CPU", machine.cpu),
        ("cores", str(machine.cores)),
        ("frequency governor", machine.governor or unknown),
        ("frequency", f"{frequency[0]:,.0f} MHz before, {frequency[1]:,.0f} MHz after" if frequency else unknown),
        ("load average", f"{load[0]:.2f} before, {load[1]:.2f} after" if load else unknown),
        ("slowed for heat", unknown if machine.throttled is None else f"{machine.throttled} times"),
        (
            "CPU time given to others",
            unknown if machine.steal_percent is None else f"{machine.steal_percent:.1f} %",
        ),
        ("edgekit", comparison.edgekit),
        *machine.versions.items(),
    ]
