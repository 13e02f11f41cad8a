"""A comparison, and a whole report, as a table on the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.report._schema import DriftSection, LatencySection, ModelFile, Report
from edgekit.report._text import NOT_MEASURED, decibels, interval_text, megabytes, milliseconds, plain, print_line
from edgekit.results import Accuracy, Drift, DriftDetail, Latency, ModelLatency, Percentiles
from edgekit.spec import Interval

_FEW_CLASSES: Final = 5


@dataclasses.dataclass(frozen=True)
class Side:
    """One model of a comparison, as the table shows it.

    Attributes:
        name: Head of its column.
        size_bytes: Size of its file, in bytes; None when it is not a file.
        accuracy: On the evaluation images; None when it was not evaluated.
    """

    name: str
    size_bytes: int | None
    accuracy: Accuracy | None


def render(report: Report, console: Console) -> None:
    """Print what a report says: the table, the nodes left in float and the notes."""
    baseline = _side("FP32", report.fp32)
    candidate = None if report.int8 is None else _side("int8", report.int8)
    drift = None if report.drift is None else _drift(report.drift, report.fp32.n)
    latency = None if report.latency is None else _latency(report.latency)
    render_comparison(console, baseline=baseline, candidate=candidate, drift=drift, latency=latency)
    if report.int8 is not None:
        _render_float_nodes(report, console)
        _render_ladder(report, console)
    for note in report.notes:
        print_line(console, f"{note.source}: {note.text}")


def render_comparison(
    console: Console,
    *,
    baseline: Side,
    candidate: Side | None,
    drift: Drift | None,
    latency: Latency | ModelLatency | None,
    detail: DriftDetail | None = None,
) -> None:
    """Print two models side by side, or one alone, and say what was not measured.

    Args:
        console: Where to; below 80 columns lines are folded.
        baseline: Left column.
        candidate: Right column; None shows the baseline alone.
        drift: Candidate against baseline; None when not measured.
        latency: Of both, or of the baseline alone; None when not measured.
        detail: What lies behind `drift`, for an interval of top-5 and the calibration error; None leaves them out.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for name in [baseline.name] if candidate is None else [baseline.name, candidate.name]:
        table.add_column(plain(name), justify="right", overflow="fold")
    if candidate is not None:
        table.add_column("change")
    for row in [
        *_file_rows(baseline, candidate, drift, detail),
        *_drift_rows(drift),
        *_calibration_rows(detail),
        *_latency_rows(latency),
    ]:
        cells = row if candidate is not None else row[:2]
        table.add_row(*(plain(cell) for cell in cells))
    console.print(table)
    console.print()
    for line in _remarks(baseline, candidate, drift, latency):
        print_line(console, line)


Row = tuple[str, str, str, str]


def _file_rows(baseline: Side, candidate: Side | None, drift: Drift | None, detail: DriftDetail | None) -> list[Row]:
    rows = [
        _row(
            "size",
            baseline,
            candidate,
            lambda side: megabytes(side.size_bytes),
            _smaller(baseline, candidate),
        )
    ]
    delta = drift.top1_delta_pp if drift is not None else None
    change = "" if delta is None else interval_text(delta, "+.2f", " pp")
    rows.append(_row("top-1", baseline, candidate, lambda side: _percent(_top1(side)), change))
    both = None if candidate is None else (_top5(baseline), _top5(candidate))
    points = f"{both[1] - both[0]:+.2f} pp" if both and both[0] is not None and both[1] is not None else ""
    if detail is not None and detail.top5_delta_pp is not None:
        points = interval_text(detail.top5_delta_pp, "+.2f", " pp")
    rows.append(_row("top-5", baseline, candidate, lambda side: _percent(_top5(side)), points))
    return rows


def _row(name: str, baseline: Side, candidate: Side | None, cell: Callable[[Side], str], change: str) -> Row:
    return name, cell(baseline), "" if candidate is None else cell(candidate), change


def _drift_rows(drift: Drift | None) -> list[Row]:
    if drift is None:
        return []
    return [
        ("agreement", "", "", interval_text(drift.agreement, ".2f", " %")),
        ("KL", "", "", interval_text(drift.kl, ".2g", " nats")),
        ("SQNR", "", "", decibels(drift.sqnr_db)),
    ]


def _calibration_rows(detail: DriftDetail | None) -> list[Row]:
    if detail is None or detail.baseline_ece is None or detail.candidate_ece is None:
        return []
    before, after = detail.baseline_ece, detail.candidate_ece
    return [("calibration error", f"{before:.2f} %", f"{after:.2f} %", f"{after - before:+.2f} pp")]


def _latency_rows(latency: Latency | ModelLatency | None) -> list[Row]:
    if latency is None:
        return []
    if isinstance(latency, ModelLatency):
        return [(f"{name} a frame", milliseconds(value), "", "") for name, value in _named(latency.frame_ms)]
    pairs = zip(_named(latency.baseline_ms), _named(latency.candidate_ms), strict=True)
    rows = [(f"{name} a frame", milliseconds(first), milliseconds(second), "") for (name, first), (_, second) in pairs]
    return [*rows, ("speed-up", "", "", interval_text(latency.speedup, ".2f", "x"))]


def _named(percentiles: Percentiles) -> list[tuple[str, float]]:
    return [("p50", percentiles.p50), ("p90", percentiles.p90), ("p99", percentiles.p99)]


def _remarks(
    baseline: Side, candidate: Side | None, drift: Drift | None, latency: Latency | ModelLatency | None
) -> Iterable[str]:
    """Yield what the numbers were measured on, and why some are missing."""
    if baseline.accuracy is None or not baseline.accuracy.n:
        yield "Accuracy: not measured, there were no evaluation images"
    elif baseline.accuracy.top1 is None:
        yield f"Accuracy: not measured, the {baseline.accuracy.n:,} evaluation images have no labels"
    else:
        yield f"Accuracy: on {baseline.accuracy.n:,} images"
        if baseline.accuracy.top5 is None:
            yield f"top-5: not measured, it says nothing with {_FEW_CLASSES} classes or fewer"
    if candidate is not None and drift is None:
        yield f"Drift: not measured, {candidate.name} was not evaluated beside {baseline.name}"
    if latency is None:
        yield "Time: not measured"
    else:
        each = "" if isinstance(latency, ModelLatency) else " of each in turns"
        threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
        yield f"Time: {latency.frames:,} frames{each}, batch 1, {threads}, {latency.runtime}"
    if drift is not None or isinstance(latency, Latency):
        yield "In brackets: 95 % confidence interval"


def _render_float_nodes(report: Report, console: Console) -> None:
    left = report.quantization.float_nodes
    total = len(report.quantization.layers)
    if not left.count:
        print_line(console, f"Left in float: none of {total} nodes")
        return
    print_line(console, f"Left in float: {left.count} of {total} nodes")
    for group in left.by_reason:
        print_line(console, f"{group.count:>5}  {group.reason}")


def _render_ladder(report: Report, console: Console) -> None:
    rungs = report.quantization.rungs
    if not rungs:
        return
    print_line(console, "Accuracy ladder, on calibration images held out (KL from FP32):")
    for rung in rungs:
        outcome = "" if rung.kept else " (not kept)"
        print_line(console, f"  {rung.name:<12}{rung.kl:.5f} nats  {rung.what}{outcome}")


def _smaller(baseline: Side, candidate: Side | None) -> str:
    if candidate is None or not baseline.size_bytes or not candidate.size_bytes:
        return ""
    ratio = baseline.size_bytes / candidate.size_bytes
    return f"{ratio:.2f}x smaller" if ratio >= 1 else f"{1 / ratio:.2f}x larger"


def _percent(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.2f} %"


def _top1(side: Side) -> float | None:
    return side.accuracy.top1 if side.accuracy is not None else None


def _top5(side: Side) -> float | None:
    return side.accuracy.top5 if side.accuracy is not None else None


def _side(name: str, file: ModelFile) -> Side:
    return Side(name, file.size_bytes, Accuracy(file.top1, file.top5, file.n))


def _drift(section: DriftSection, n: int) -> Drift:
    delta = section.top1_delta_pp
    return Drift(
        top1_delta_pp=None if delta is None else delta.interval(),
        agreement=section.agreement.interval(),
        kl=section.kl.interval(),
        sqnr_db=section.sqnr_db.interval(),
        n=n,
    )


def _latency(section: LatencySection) -> Latency | ModelLatency:
    baseline = Percentiles(section.fp32_ms.p50, section.fp32_ms.p90, section.fp32_ms.p99)
    if section.int8_ms is None or section.speedup is None or section.speedup_ci is None:
        return ModelLatency(baseline, section.threads, section.runtime, section.frames)
    return Latency(
        baseline_ms=baseline,
        candidate_ms=Percentiles(section.int8_ms.p50, section.int8_ms.p90, section.int8_ms.p99),
        speedup=Interval(section.speedup, *section.speedup_ci),
        threads=section.threads,
        runtime=section.runtime,
        frames=section.frames,
    )
