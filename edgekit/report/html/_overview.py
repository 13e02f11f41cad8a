"""The top of the page, as text: the verdict, the four numbers that everybody asks for, and the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final, Literal

from edgekit.report._text import NOT_MEASURED, decibels, interval_text, megabytes, milliseconds
from edgekit.results import NO_LIMIT, Accuracy, Check, Comparison, Outcome, Significance

SIGNIFICANT: Final = 0.05
_WORDS: Final[dict[Outcome, str]] = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}
_UNITS: Final = {"points": " points", "percent": " %", "ratio": "x"}
_CHECKS: Final = {
    "max_drop": ("drop of accuracy", "at most"),
    "min_agreement": ("agreement", "at least"),
    "max_size": ("size", "at most"),
    "min_speedup": ("speed-up", "at least"),
    "max_p99_ratio": ("p99 of the time over the baseline's", "at most"),
}


@dataclasses.dataclass(frozen=True)
class Headline:
    """What was decided, and why; `kind` is also the class of its colours."""

    kind: Outcome | Literal["neutral"]
    word: str
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tile:
    """One number in large letters, and what must be known with it."""

    name: str
    value: str
    remark: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    baseline: str
    candidate: str
    change: str


@dataclasses.dataclass(frozen=True)
class CheckRow:
    """One limit of the gate."""

    name: str
    kind: Outcome
    word: str
    measured: str
    limit: str
    reason: str


def headline(comparison: Comparison) -> Headline:
    """Return the gate's verdict where there is one, else that of the limit that was given."""
    verdict = comparison.verdict
    limited = not verdict.reason.endswith(NO_LIMIT)
    reasons = (verdict.reason,) if limited else ()
    gate = comparison.gate
    if gate is None:
        if not limited:
            return Headline("neutral", "Compared", (verdict.reason,))
        kind: Outcome = "pass" if verdict.passed else "fail"
        return Headline(kind, _WORDS[kind], reasons)
    open_checks = [check for check in gate.checks if check.outcome != "pass"]
    gate_reasons = tuple(f"{_check_name(check)}: {_WORDS[check.outcome].lower()}" for check in open_checks)
    held = f"{len(gate.checks) - len(open_checks)} of {len(gate.checks)} checks of the gate pass"
    return Headline(gate.outcome, _WORDS[gate.outcome], (*reasons, "; ".join((held, *gate_reasons))))


def check_rows(comparison: Comparison) -> list[CheckRow]:
    """Return the gate's checks."""
    checks = () if comparison.gate is None else comparison.gate.checks
    return [
        CheckRow(
            name=_check_name(check),
            kind=check.outcome,
            word=_WORDS[check.outcome],
            measured=_measured(check),
            limit=f"{_CHECKS.get(check.name, ('', 'limit'))[1]} {_in_unit(check.limit, check.unit)}",
            reason=check.reason,
        )
        for check in checks
    ]


def _check_name(check: Check) -> str:
    return _CHECKS.get(check.name, (check.name, ""))[0]


def _measured(check: Check) -> str:
    text = _in_unit(check.measured, check.unit)
    if check.low == check.high:
        return text
    return f"{text} [{check.low:.2f}, {check.high:.2f}]"


def _in_unit(value: float, unit: str) -> str:
    if unit == "bytes":
        return megabytes(round(value))
    return f"{value:.2f}{_UNITS.get(unit, f' {unit}')}"


def tiles(comparison: Comparison) -> list[Tile]:
    """Return accuracy, agreement, size and speed."""
    agreement = comparison.drift.agreement
    return [
        _accuracy_tile(comparison),
        Tile(
            "Same answer",
            f"{agreement.value:.2f} %",
            f"of {comparison.drift.n:,} images [{agreement.low:.2f}, {agreement.high:.2f}]",
        ),
        Tile(
            "Size",
            _times_smaller(comparison),
            f"{megabytes(comparison.baseline.size_bytes)} to {megabytes(comparison.candidate.size_bytes)}",
        ),
        _speed_tile(comparison),
    ]


def _accuracy_tile(comparison: Comparison) -> Tile:
    delta, significance = comparison.drift.top1_delta_pp, comparison.detail.significance
    if delta is None:
        return Tile("Top-1", "not measured", "the images have no labels")
    remark = f"[{delta.low:+.2f}, {delta.high:+.2f}]"
    if significance is not None:
        remark += f" {_chance(significance)}"
    return Tile("Top-1", f"{delta.value:+.2f} points", remark)


def _chance(significance: Significance) -> str:
    """Say whether the change is more than chance, in a few words."""
    return "more than chance" if significance.p_value < SIGNIFICANT else "may be chance"


def _times_smaller(comparison: Comparison) -> str:
    baseline, candidate = comparison.baseline.size_bytes, comparison.candidate.size_bytes
    if baseline == candidate:
        return "the same"
    return f"{baseline / candidate:.2f}x smaller" if baseline > candidate else f"{candidate / baseline:.2f}x larger"


def _speed_tile(comparison: Comparison) -> Tile:
    latency, noise = comparison.latency, comparison.noise
    if latency is None:
        return Tile("Time a frame", "not measured", "the models were not timed")
    ratio = latency.speedup
    interval = f"[{ratio.low:.2f}, {ratio.high:.2f}]"
    if noise is None:
        return Tile("Time a frame", _times_faster(ratio.value), f"{interval} the machine's noise was not measured")
    if noise.low <= ratio.value <= noise.high:
        remark = f"{ratio.value:.2f}x {interval} is within the machine's noise, {noise.low:.2f} to {noise.high:.2f}"
        return Tile("Time a frame", "no difference", remark)
    remark = f"{interval} outside the machine's noise, {noise.low:.2f} to {noise.high:.2f}"
    return Tile("Time a frame", _times_faster(ratio.value), remark)


def _times_faster(ratio: float) -> str:
    return f"{ratio:.2f}x faster" if ratio >= 1 else f"{1 / ratio:.2f}x slower"


def rows(comparison: Comparison) -> list[Row]:
    """Return the rows of the table."""
    drift, detail = comparison.drift, comparison.detail
    accuracies = comparison.baseline.accuracy, comparison.candidate.accuracy
    worst = f"{detail.worst_kl:.2g} nats ({detail.worst_kl_image})"
    return [
        Row(
            "size",
            megabytes(comparison.baseline.size_bytes),
            megabytes(comparison.candidate.size_bytes),
            _times_smaller(comparison),
        ),
        *_accuracy_rows(comparison, *accuracies),
        Row("agreement", "", "", interval_text(drift.agreement, ".2f", " %")),
        Row("KL, mean", "", "", interval_text(drift.kl, ".2g", " nats")),
        Row("KL, worst", "", "", worst),
        Row("SQNR", "", "", decibels(drift.sqnr_db)),
        *_time_rows(comparison),
    ]


def _accuracy_rows(comparison: Comparison, baseline: Accuracy, candidate: Accuracy) -> Iterator[Row]:
    detail = comparison.detail
    deltas = comparison.drift.top1_delta_pp, detail.top5_delta_pp
    for name, before, after, delta in (
        ("top-1", baseline.top1, candidate.top1, deltas[0]),
        ("top-5", baseline.top5, candidate.top5, deltas[1]),
        ("calibration error", detail.baseline_ece, detail.candidate_ece, None),
    ):
        if delta is not None:
            change = interval_text(delta, "+.2f", " points")
        elif before is not None and after is not None:
            change = f"{after - before:+.2f} points"
        else:
            change = NOT_MEASURED
        yield Row(name, _percent(before), _percent(after), change)


def _percent(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.2f} %"


def _time_rows(comparison: Comparison) -> Iterator[Row]:
    latency, noise = comparison.latency, comparison.noise
    if latency is None:
        yield Row("time a frame", NOT_MEASURED, NOT_MEASURED, NOT_MEASURED)
        return
    for name in ("p50", "p90", "p99"):
        before, after = getattr(latency.baseline_ms, name), getattr(latency.candidate_ms, name)
        yield Row(f"{name} a frame", milliseconds(before), milliseconds(after), _times_faster(before / after))
    yield Row("speed-up", "", "", interval_text(latency.speedup, ".2f", "x"))
    floor = NOT_MEASURED if noise is None else f"{noise.low:.3f}x to {noise.high:.3f}x"
    yield Row("noise floor", "", "", floor)


def remarks(comparison: Comparison) -> list[str]:
    """Return what the numbers of the table were measured on, and why some are missing."""
    accuracy, latency = comparison.baseline.accuracy, comparison.latency
    broken = f", {comparison.broken:,} more could not be read" if comparison.broken else ""
    said = [f"Images: {comparison.images}; {comparison.drift.n:,} compared{broken}."]
    if accuracy.top1 is None:
        said.append("Accuracy and calibration error: not measured, the images have no labels.")
    elif accuracy.top5 is None:
        said.append("Top-5: not measured, it says nothing with five classes or fewer.")
    if latency is None:
        said.append("Time: not measured.")
    else:
        threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
        said.append(f"Time: {latency.frames:,} frames of each in turns, batch 1, {threads}, {latency.runtime}.")
        if comparison.noise is None:
            said.append("Noise floor: not measured, so a small speed-up may be the machine's own.")
    return said


def significance_lines(comparison: Comparison) -> list[str]:
    """Return what the tests say about the change of accuracy; nothing without labels."""
    found, margin = comparison.detail.significance, comparison.detail.non_inferiority
    if found is None:
        return []
    chance = "more than chance would give" if found.p_value < SIGNIFICANT else "no more than chance may give"
    alone = f"The candidate alone is right on {found.gained:,} images, the baseline alone on {found.lost:,}"
    lines = [
        f"{alone}: {chance} (McNemar's exact test, p {p_text(found.p_value)}).",
        f"Paired bootstrap of the change: {interval_text(found.bootstrap_pp, '+.2f', ' points')}.",
    ]
    if margin is not None:
        shown = "is ruled out" if margin.shown else "is not ruled out"
        p_value = p_text(margin.p_value)
        lines.append(f"A drop of {margin.margin_pp:g} points or more {shown} (non-inferiority, p {p_value}).")
    detectable = found.detectable_drop_pp
    if detectable is None:
        lines.append("So few images show no drop, however large, with 80 % power.")
    else:
        lines.append(f"So many images show a true drop of {detectable:.2g} points or more with 80 % power.")
    return lines


def p_text(p_value: float) -> str:
    """Return a probability of a test with its sign of comparison."""
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def side_names(comparison: Comparison) -> tuple[str, str]:
    """Return file names alone where they tell the two apart."""
    first, second = comparison.baseline.name, comparison.candidate.name
    short = PurePath(first).name, PurePath(second).name
    return short if short[0] != short[1] else (first, second)
