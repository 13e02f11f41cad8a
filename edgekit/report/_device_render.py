"""The report on a device's answer as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.report._device_schema import (
    BaselineSection,
    DeviceReport,
    EngineSection,
    OutputSection,
    PowerSection,
    RatioSection,
    RunTimesSection,
    TimesSection,
)
from edgekit.report._text import decibels, interval_text, megabytes, milliseconds, plain, print_line


def render_device(report: DeviceReport, console: Console) -> None:
    """Print what a device answered beside its baseline; below 80 columns lines are folded."""
    head = ("", "the same file on a CPU", "the baseline")
    _print_table(console, head, _drift_rows(report.against_file, report.against_baseline))
    rows = [*_time_rows("", report.times), *_time_rows("baseline: ", report.baseline.times)]
    if rows:
        _print_table(console, ("", "p50", "p90", "p99", "spread of the runs' medians"), rows)
    for line in (*_facts(report), *_speedup(report.baseline)):
        print_line(console, line)
    for note in report.notes:
        print_line(console, f"{note.source}: {note.text}")
    print_line(console, f"{'pass' if report.verdict.passed else 'FAIL'}: {report.verdict.reason}")


def _print_table(console: Console, head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, name in enumerate(head):
        table.add_column(plain(name), justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(plain, row))
    console.print(table)
    console.print()


def _drift_rows(*sides: OutputSection) -> list[tuple[str, ...]]:
    return [
        ("agreement", *(interval_text(side.agreement.interval(), ".2f", " %") for side in sides)),
        ("KL", *(interval_text(side.kl.interval(), ".2g", " nats") for side in sides)),
        ("SQNR", *(decibels(side.sqnr_db.interval()) for side in sides)),
        ("largest difference", *(f"{side.max_abs_difference:.3g}" for side in sides)),
    ]


def _time_rows(prefix: str, times: TimesSection | None) -> list[tuple[str, ...]]:
    if times is None:
        return []
    return [_time_row(f"{prefix}compute", times.compute), _time_row(f"{prefix}end to end", times.end_to_end)]


def _time_row(name: str, times: RunTimesSection) -> tuple[str, ...]:
    frame = times.frame_ms
    spread = "one run" if times.spread_percent is None else f"{times.spread_percent:.1f} %"
    return name, milliseconds(frame.p50), milliseconds(frame.p90), milliseconds(frame.p99), spread


def _facts(report: DeviceReport) -> Iterator[str]:
    yield _baseline(report.baseline)
    yield _device(report)
    yield f"Engine: {report.plan.precision}, {_engine(report.engine)}"
    yield _timing(report)
    if report.power is not None:
        yield f"Power: {_power(report.power)}; {report.power.assumed}"
    elif report.times is not None:
        yield "Power: not measured, the board has no sensor that could be read"
    yield f"Drift: on {report.samples:,} samples; in brackets: 95 % confidence interval"


def _baseline(baseline: BaselineSection) -> str:
    if baseline.engine is None:
        return f"Baseline: {baseline.source}, run on this CPU"
    power = "" if baseline.power is None else f", {_power(baseline.power)}"
    return f"Baseline: {baseline.source}, {baseline.precision}, {_engine(baseline.engine)}{power}"


def _device(report: DeviceReport) -> str:
    device = report.device
    facts = (
        (device.model, ""),
        (device.compute_capability, "compute capability "),
        (device.l4t, "L4T "),
        (device.cuda, "CUDA "),
        (device.nvpmodel, "power mode "),
    )
    known = [f"{before}{fact}" for fact, before in facts if fact is not None]
    clocks = [f"{name} {value}" for name, value in device.clocks.items()]
    return f"Device: {', '.join([*known, f'TensorRT {device.tensorrt}', *clocks])}"


def _timing(report: DeviceReport) -> str:
    settings = report.settings
    if report.times is None:
        return "Time: not measured, only the samples were run"
    pins = (("CUDA graph", settings.cuda_graph), ("spin wait", settings.spin_wait))
    told = ", ".join(f"{name} {'on' if value else 'off'}" for name, value in pins)
    return (
        f"Time: {report.times.frames:,} frames in {settings.runs} runs of {settings.duration_s:g} s after "
        f"{settings.warmup_ms:g} ms of warm-up, batch 1, {report.tool}, {told}"
    )


def _engine(engine: EngineSection) -> str:
    built = "was there already" if engine.build_seconds is None else f"built in {engine.build_seconds:g} s"
    return f"{megabytes(engine.size_bytes)}, {built}"


def _power(power: PowerSection) -> str:
    rail = f"at {power.rail}" if power.rail else "at a rail without a name"
    readings = "1 reading" if power.readings == 1 else f"{power.readings:,} readings"
    return (
        f"{power.mean_w:.2f} W {rail} ({readings}, {power.low_w:.2f} to {power.high_w:.2f} W), "
        f"{power.energy_mj:.3g} mJ a frame"
    )


def _speedup(baseline: BaselineSection) -> Iterator[str]:
    if baseline.speedup is not None:
        pairs = (("compute", baseline.speedup.compute), ("end to end", baseline.speedup.end_to_end))
        told = ", ".join(f"{name} {_ratio(ratio)}" for name, ratio in pairs)
        yield f"Speed-up over the baseline: {told}; in brackets: the range over the runs"
    elif baseline.differences:
        yield f"Speed-up: none is stated, the times cannot be compared ({'; '.join(baseline.differences)})"


def _ratio(ratio: RatioSection) -> str:
    return f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"
