"""Models timed in turns, as a table on the terminal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.report._text import NOT_MEASURED, interval_text, megabytes, milliseconds, plain, print_line
from edgekit.results import Bench, BenchedModel, MachineState, NoiseFloor
from edgekit.spec import Interval

NO_DIFFERENCE = "no difference measured"


def render_bench(bench: Bench, console: Console) -> None:
    """Print one column a model, what the noise floor says about their ratios, and the state of the machine."""
    models = bench.models
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for name in _short_names(models):
        table.add_column(plain(name), justify="right", overflow="fold")
    for label, cell in _rows(models):
        table.add_row(plain(label), *(plain(cell(model)) for model in models))
    console.print(table)
    console.print()
    for line in (*_verdicts(models, bench.noise), *_conditions(bench)):
        print_line(console, line)
    for note in bench.notes:
        print_line(console, f"note: {note}")


def _short_names(models: Sequence[BenchedModel]) -> list[str]:
    """Return file names alone where they tell the models apart."""
    short = [Path(model.name).name for model in models]
    return short if len(set(short)) == len(short) else [model.name for model in models]


def _rows(models: Sequence[BenchedModel]) -> Iterable[tuple[str, Callable[[BenchedModel], str]]]:
    yield "size", lambda model: megabytes(model.size_bytes)
    if any(model.peak_memory_bytes is not None for model in models):
        yield "peak memory", lambda model: megabytes(model.peak_memory_bytes)
    yield "p50 a frame", lambda model: milliseconds(model.frame_ms.p50)
    yield "p90 a frame", lambda model: milliseconds(model.frame_ms.p90)
    yield "p99 a frame", lambda model: milliseconds(model.frame_ms.p99)
    for batch in sorted({own.batch for model in models for own in model.throughput}):
        yield f"images/s at batch {batch}", functools.partial(_images_per_second, batch)
    if len(models) > 1:
        yield "speed-up", lambda model: NOT_MEASURED if model.speedup is None else f"{model.speedup.value:.2f}x"


def _images_per_second(batch: int, model: BenchedModel) -> str:
    found = next((own for own in model.throughput if own.batch == batch), None)
    return NOT_MEASURED if found is None else f"{found.images_per_second:,.0f}"


def _verdicts(models: Sequence[BenchedModel], noise: NoiseFloor) -> Iterable[str]:
    names = _short_names(models)
    for name, model in zip(names[1:], models[1:], strict=True):
        assert model.speedup is not None  # Only the first has none.
        yield f"{name} beside {names[0]}: {_verdict(model.speedup, different=bool(model.different))}"
    itself = interval_text(noise.ratio, ".3f", "x")
    yield f"Noise floor: {names[0]} beside itself {itself}; {noise.low:.3f}x to {noise.high:.3f}x is noise"
    yield "In brackets: 95 % confidence interval"


def _verdict(speedup: Interval, *, different: bool) -> str:
    said = interval_text(speedup, ".3f", "x")
    if not different:
        return f"{NO_DIFFERENCE} ({said})"
    return f"{'faster' if speedup.value > 1 else 'slower'}, {said}"


def _conditions(bench: Bench) -> Iterable[str]:
    first = bench.models[0]
    frames = len(first.samples_ms)
    threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
    yield f"Time: {frames:,} frames of each in turns, batch 1, {threads}, {first.runtime}"
    yield f"Machine: {_machine(bench.machine)}"


def _machine(machine: MachineState) -> str:
    parts = [machine.cpu, "1 core" if machine.cores == 1 else f"{machine.cores} cores"]
    if machine.frequency_mhz is not None:
        parts.append("{:.0f} to {:.0f} MHz".format(*machine.frequency_mhz))
    parts.append(f"governor {machine.governor or 'not told'}")
    if machine.load_average is not None:
        parts.append("load {:.1f} to {:.1f}".format(*machine.load_average))
    parts.append("throttling not told" if machine.throttled is None else f"throttled {machine.throttled} times")
    if machine.steal_percent is not None:
        parts.append(f"{machine.steal_percent:.1f} % stolen")
    return ", ".join(parts)
