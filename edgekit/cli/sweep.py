"""`edgekit sweep`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.pipeline.sweep import Measurement, SweepOutcome, Trial

_COLUMNS = (
    "trial",
    "model",
    "MACs",
    "precision",
    "range",
    "effort",
    "images",
    "top-1",
    "agrees",
    "time",
    "MB",
    "M MACs",
)


def command(
    file: Annotated[
        Path, typer.Argument(metavar="SWEEP.toml", help="What to choose from, by what, within which limits.")
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for the front and the study; the same one again goes on with it.")
    ] = Path("edgekit-sweep"),
    trials: Annotated[int | None, typer.Option(min=1, help="Candidates to try. Default: what the file says.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Storage of the study, as Optuna takes it. Default: SQLite in the output folder.")
    ] = None,
    ray: common.RayOption = False,
    ray_address: common.RayAddressOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With Ray: candidates tried at once. Default: one a core.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Try many ways to make a model small, and keep those that none beats."""
    from edgekit.pipeline.cluster import HERE
    from edgekit.pipeline.sweep import SweepRequest, facts, require_feasible, sweep, write_sweep

    request = SweepRequest(file, output, trials, storage)
    with common.workers(ray, ray_address, workers) as there, _live() as on_trial:
        outcome = sweep(request, workers=there or HERE, on_trial=on_trial)
    written = write_sweep(outcome)
    # After everything is written: what was tried is worth reading all the more.
    require_feasible(outcome)
    if as_json:
        common.print_json(facts(outcome))
    else:
        _print(outcome, written)


@contextlib.contextmanager
def _live() -> Iterator[Callable[[Trial], None]]:
    """Yield what takes each trial, and shows the last of them on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda trial: None
        return
    from rich.console import Console
    from rich.live import Live

    done: list[Trial] = []
    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def show(trial: Trial) -> None:
            done.append(trial)
            # As many as a terminal shows, with room for the heading.
            live.update(_table(done[-max(4, console.height - 4) :], f"{len(done)} tried"), refresh=True)

        yield show


def _print(outcome: SweepOutcome, written: tuple[str, ...]) -> None:
    console = common.output_console()
    tried = len(outcome.trials)
    stopped = sum(trial.state == "stopped" for trial in outcome.trials)
    failed = [trial for trial in outcome.trials if trial.state == "failed"]
    console.print(_table(outcome.front, f"the front: {len(outcome.front)} of {tried} candidates", outcome.baseline))
    console.print(
        f"{tried} candidates: {tried - stopped - len(failed)} on all {outcome.images[-1]:,} images, {stopped} stopped "
        f"before, {len(failed)} failed" + ("; the space holds no more" if outcome.exhausted else ""),
        soft_wrap=True,
    )
    for trial in failed:
        console.print(common.printable(f"failed: {trial.number}: {trial.measurement.failure}"), soft_wrap=True)
    if outcome.area is not None:
        console.print(f"area under the front: {outcome.area:.4f} of 1")
    console.print(f"wrote {', '.join(written)} in {outcome.output}/", soft_wrap=True)


def _table(trials: tuple[Trial, ...] | list[Trial], title: str, baseline: Measurement | None = None) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("model", "precision", "range", "effort") else "right")
    if baseline is not None:
        table.add_row("", "baseline", "", "", "", "", *_numbers(baseline))
    for trial in trials:
        chosen = trial.candidate
        table.add_row(
            str(trial.number), common.printable(Path(chosen.model).stem), f"{chosen.macs:g}", chosen.precision,
            chosen.calibration_method or "", chosen.effort or "", *_numbers(trial.measurement),
        )  # fmt: skip
    return table


def _numbers(measured: Measurement) -> tuple[str, ...]:
    if measured.failure is not None:
        return ("failed",)
    accuracy = measured.accuracy[-1]
    return (
        f"{measured.images[-1]:,}",
        "" if accuracy is None else f"{accuracy:.2f} %",
        f"{measured.agreement[-1]:.2f} %",
        "" if measured.time is None else f"{measured.time:.3f}x",
        f"{measured.bytes / 1e6:.3f}",
        f"{measured.macs / 1e6:.1f}",
    )
