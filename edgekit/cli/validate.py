"""`edgekit validate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from edgekit.pipeline.validate import ValidateOutcome


def command(
    baseline: Annotated[str, typer.Argument(help="Checkpoint or .onnx file to compare with.")],
    candidate: Annotated[str, typer.Argument(help="Checkpoint or .onnx file under test.")],
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", help="Labelled images. Default: the CIFAR-10 sample that ships, where it fits."),
    ] = None,
    evaluation_samples: Annotated[
        int | None,
        typer.Option("--eval-samples", min=1, help="How many of them, evenly spread. Default: all."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Exit 1 when top-1 (without labels: agreement) drops by more points.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads that a timed frame may use; 0 takes all cores.")] = 0,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    resize: common.ResizeOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Compare any two models: accuracy drift and time per frame."""
    overrides = common.overrides(mean=mean, std=std, resize=resize)
    from edgekit.pipeline.validate import ValidateRequest, validate_models

    request = ValidateRequest(baseline, candidate, overrides, evaluation, evaluation_samples, max_drop, threads)
    with common.progress() as progress:
        outcome = validate_models(request, progress=progress)
    if as_json:
        common.print_json(_facts(outcome))
    else:
        _print(request.baseline, request.candidate, outcome)
    if not outcome.verdict.passed:
        raise typer.Exit(common.CHECK_FAILED)


def _facts(outcome: ValidateOutcome) -> dict[str, Any]:
    measured = dataclasses.asdict(outcome.measured)
    return {
        "verdict": dataclasses.asdict(outcome.verdict),
        **measured,
        "size_bytes": {"baseline": outcome.sizes[0], "candidate": outcome.sizes[1]},
        "images": outcome.images,
        "notes": [note.text for note in outcome.notes],
    }


def _print(baseline: str, candidate: str, outcome: ValidateOutcome) -> None:
    from edgekit.report import Side, render_comparison

    console = common.output_console()
    measured = outcome.measured
    first, second = _short_names(baseline, candidate)
    render_comparison(
        console,
        baseline=Side(first, outcome.sizes[0], measured.baseline),
        candidate=Side(second, outcome.sizes[1], measured.candidate),
        drift=measured.drift,
        latency=measured.latency,
    )
    for note in outcome.notes:
        console.print(f"note: {note.text}")
    console.print(f"{'pass' if outcome.verdict.passed else 'FAIL'}: {outcome.verdict.reason}")


def _short_names(baseline: str, candidate: str) -> tuple[str, str]:
    """Return file names alone where they tell the two apart."""
    first, second = Path(baseline).name, Path(candidate).name
    return (first, second) if first != second else (baseline, candidate)
