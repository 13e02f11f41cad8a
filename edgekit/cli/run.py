"""`edgekit run`."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from edgekit.pipeline.run import RunOutcome, StageOutcome

# As `edgekit gate`: nothing was shown either way.
INCONCLUSIVE = 3


def command(
    path: Annotated[Path, typer.Argument(metavar="[PIPELINE]", help="Pipeline file; edgekit init writes one.")] = Path(
        "edgekit.toml"
    ),
    check: Annotated[bool, typer.Option("--check", help="Only read the file and say whether it can be run.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Set one key, e.g. export.opset=17; repeat for more."),
    ] = None,
    start_from: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Make this stage and all after it again.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make every stage again.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Run a whole pipeline from one file; what was made before is kept, what was interrupted goes on."""
    from edgekit.pipeline.run import RunRequest, load_pipeline, run_pipeline

    loaded = load_pipeline(path, environment=os.environ, flags=settings or ())
    if check:
        _say_checked(path, loaded.pipeline.stages(), as_json=as_json)
        return
    lock = path.with_suffix(".lock")
    request = RunRequest(loaded.pipeline, loaded.folder, start_from, force, lock)
    with common.progress() as progress:
        outcome = run_pipeline(request, progress=progress, on_stage=_line(as_json=as_json))
    if as_json:
        common.print_json(facts_of(outcome))
    else:
        _print(outcome)
    if not outcome.passed:
        failed = {stage.facts.get("outcome", "fail") for stage in outcome.stages if not stage.passed}
        raise typer.Exit(INCONCLUSIVE if failed == {"inconclusive"} else common.CHECK_FAILED)


def _say_checked(path: Path, stages: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        common.print_json({"pipeline": str(path), "stages": list(stages)})
    else:
        common.output_console().print(f"{path}: {' → '.join(stages)}", soft_wrap=True)


def _line(*, as_json: bool) -> Callable[[StageOutcome], None]:
    """Return what says that a stage is done: on the terminal, beside the bars."""

    def say(stage: StageOutcome) -> None:
        if sys.stderr.isatty() and not as_json:
            how = f"{stage.seconds:.1f} s" if stage.made else "as before"
            print(f"{stage.stage}: {how}", file=sys.stderr)

    return say


def facts_of(outcome: RunOutcome) -> dict[str, Any]:
    """Return a run as plain JSON."""
    return {
        "passed": outcome.passed,
        "output": str(outcome.output),
        "lock": None if outcome.lock is None else str(outcome.lock),
        "stages": [
            {**dataclasses.asdict(stage), "folder": str(stage.folder), "passed": stage.passed}
            for stage in outcome.stages
        ],
        "lines": [dataclasses.asdict(line) for line in outcome.lines],
        "notes": list(outcome.notes),
    }


def _print(outcome: RunOutcome) -> None:
    from rich.table import Table

    console = common.output_console()
    table = Table("stage", box=None, pad_edge=False)
    titles = ("result", "MACs", "parameters", "bytes", "top-1 %", "agreement %", "ms a frame", "speed-up")
    for title in titles:
        table.add_column(title, justify="right")
    lines = {line.stage: line for line in outcome.lines}
    for stage in outcome.stages:
        how = f"{stage.seconds:.1f} s" if stage.made else "as before"
        line = lines.get(stage.stage)
        numbers: list[str] = []
        if line is not None:
            numbers = [
                _integer(line.macs), _integer(line.parameters), _integer(line.size_bytes),
                _decimal(line.top1, 2), _decimal(line.agreement, 2), _decimal(line.frame_ms, 3),
                "" if line.speedup is None else f"{line.speedup:.2f}x",
            ]  # fmt: skip
        table.add_row(stage.stage, how, *numbers)
    console.print(table)
    if (images := max((line.images for line in outcome.lines), default=0)) > 0:
        console.print(f"top-1 and agreement with the baseline on {images:,} images; times on this machine")
    for note in dict.fromkeys((*outcome.notes, *(note for stage in outcome.stages for note in stage.notes))):
        console.print(common.printable(f"note: {note}"), soft_wrap=True)
    for stage in outcome.stages:
        if "passed" in stage.facts:
            verdict = "pass" if stage.passed else str(stage.facts.get("outcome", "FAIL"))
            console.print(
                common.printable(f"{stage.stage}: {verdict}: {stage.facts.get('reason', '')}"), soft_wrap=True
            )
    console.print(f"wrote {outcome.output}/ and {outcome.lock}", soft_wrap=True)


def _integer(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _decimal(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"
