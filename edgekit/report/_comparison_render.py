"""A comparison on the terminal: the verdict, the table, what is chance and what is not, classes and images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.report._gate_text import finding_text
from edgekit.report._render import Side, render_comparison
from edgekit.report._text import plain, print_line
from edgekit.results import ClassChange, Comparison, Diagnosis, Flip, NonInferiority, Significance
from edgekit.spec import Interval

_FLIPS_SHOWN: Final = 10
_SMALLEST_P: Final = 0.001


def render_validation(comparison: Comparison, console: Console) -> None:
    """Print a comparison, the verdict first; below 80 columns lines are folded."""
    print_line(console, f"{'pass' if comparison.verdict.passed else 'FAIL'}: {comparison.verdict.reason}")
    console.print()
    first, second = _short_names(comparison.baseline.name, comparison.candidate.name)
    render_comparison(
        console,
        baseline=Side(first, comparison.baseline.size_bytes, comparison.baseline.accuracy),
        candidate=Side(second, comparison.candidate.size_bytes, comparison.candidate.accuracy),
        drift=comparison.drift,
        latency=comparison.latency,
        detail=comparison.detail,
    )
    for line in _findings(comparison):
        print_line(console, line)
    _print_classes(comparison.detail.classes, console)
    _print_flips(comparison, console)
    for line in _causes(comparison.diagnosis):
        print_line(console, line)
    for note in comparison.notes:
        print_line(console, f"note: {note}")


def _causes(diagnosis: Diagnosis | None) -> Iterator[str]:
    if diagnosis is None:
        return
    if not diagnosis.findings:
        yield f"Finding: none of the known causes explains the loss on {diagnosis.images:,} images"
    yield from (f"Finding: {finding_text(finding)}" for finding in diagnosis.findings)


def _short_names(baseline: str, candidate: str) -> tuple[str, str]:
    """Return file names alone where they tell the two apart."""
    first, second = Path(baseline).name, Path(candidate).name
    return (first, second) if first != second or baseline == candidate else (baseline, candidate)


def _findings(comparison: Comparison) -> Iterator[str]:
    detail = comparison.detail
    yield f"Images: {comparison.images}"
    if detail.significance is not None and comparison.drift.top1_delta_pp is not None:
        yield from _significance(detail.significance, comparison.drift.top1_delta_pp, comparison.drift.n)
    if detail.non_inferiority is not None:
        yield _non_inferiority(detail.non_inferiority)
    if detail.worst_kl > 0:
        yield f"KL: {detail.worst_kl:.2g} nats at worst, on {detail.worst_kl_image}"


def _significance(found: Significance, tango: Interval, images: int) -> Iterator[str]:
    shown = "more than chance" if found.p_value < 0.05 else "no more than chance"
    yield (
        f"Top-1: {found.lost:,} images lost and {found.gained:,} gained, {shown} "
        f"(McNemar's exact test, {_probability(found.p_value)})"
    )
    bootstrap = found.bootstrap_pp
    yield (
        f"Top-1 change: {tango.low:+.2f} to {tango.high:+.2f} points by Tango's score interval, "
        f"{bootstrap.low:+.2f} to {bootstrap.high:+.2f} by the paired bootstrap"
    )
    if found.detectable_drop_pp is None:
        yield f"Sensitivity: {images:,} images are too few to show any drop"
    else:
        yield f"Sensitivity: {images:,} images show a drop of {found.detectable_drop_pp:.2f} points with 80 % power" + (
            "; --need POINTS says how many another drop takes" if found.needed is None else ""
        )
    if found.needed is not None:
        yield f"Needed: {found.needed.images:,} images show a drop of {found.needed.drop_pp:g} points with 80 % power"


def _non_inferiority(found: NonInferiority) -> str:
    what = f"that the drop is below {found.margin_pp:g} points"
    return f"Non-inferiority: {what} is {'shown' if found.shown else 'not shown'} ({_probability(found.p_value)})"


def _probability(p_value: float) -> str:
    return f"p < {_SMALLEST_P}" if p_value < _SMALLEST_P else f"p = {p_value:.3f}"


def _print_classes(classes: Sequence[ClassChange], console: Console) -> None:
    if not classes:
        return
    changed = [found for found in classes if found.changed]
    if not changed:
        print_line(console, f"Classes: none of {len(classes):,} changed by more than chance")
        return
    print_line(console, f"Classes: {len(changed):,} of {len(classes):,} changed by more than chance")
    rows = [
        (
            found.name, f"{found.n:,}", f"{found.baseline_top1:.1f} %", f"{found.candidate_top1:.1f} %",
            f"{found.candidate_top1 - found.baseline_top1:+.1f} pp", _probability(found.p_value),
        )
        for found in changed
    ]  # fmt: skip
    _print_table(console, ("class", "images", "baseline", "candidate", "change", "corrected"), rows)


def _print_flips(comparison: Comparison, console: Console) -> None:
    flips, images = comparison.detail.flips, comparison.drift.n
    if not flips:
        print_line(console, f"Answers: the same on all {images:,} images")
        return
    most = "; those with the largest KL:" if len(flips) > _FLIPS_SHOWN else ":"
    print_line(console, f"Answers: {len(flips):,} of {images:,} images are answered differently{most}")
    names = comparison.class_names
    rows = [_flip_row(flip, names) for flip in flips[:_FLIPS_SHOWN]]
    _print_table(console, ("image", "label", "baseline", "candidate", "KL"), rows)
    if len(flips) > _FLIPS_SHOWN:
        print_line(console, f"and {len(flips) - _FLIPS_SHOWN:,} more, which --json lists")


def _flip_row(flip: Flip, names: Sequence[str] | None) -> tuple[str, ...]:
    def name(index: int) -> str:
        return str(index) if names is None else names[index]

    label = "-" if flip.label is None else name(flip.label)
    return flip.image, label, name(flip.baseline), name(flip.candidate), f"{flip.kl:.2g}"


def _print_table(console: Console, head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    console.print(table)
    console.print()
