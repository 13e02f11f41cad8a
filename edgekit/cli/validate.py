"""`edgekit validate`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.device_result import ResultRequest
    from edgekit.pipeline.validate import ValidateOutcome


def command(
    context: typer.Context,
    baseline: Annotated[
        str, typer.Argument(help="Checkpoint or .onnx file to compare with, or a device's result.json.")
    ],
    candidate: Annotated[
        str, typer.Argument(help="Checkpoint or .onnx file under test, or a device's result.json or bundle.")
    ],
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
    ray: common.RayOption = False,
    ray_address: common.RayAddressOption = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle that result.json answers. Default: the folder that it lies in.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for report.json, on a device's result.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Compare any two of model and device result: accuracy drift and time per frame."""
    overrides = common.overrides(mean=mean, std=std, resize=resize)
    from edgekit.pipeline.device_result import ResultRequest, is_result

    if is_result(candidate):
        _refuse("--eval", evaluation, "a device answers the samples of its bundle alone")
        _refuse("--eval-samples", evaluation_samples, "a device answers the samples of its bundle alone")
        _refuse("--ray", ray or ray_address or None, "a device's answers are compared here")
        line = shlex.join(["edgekit", *(context.obj or ())])
        _validate_result(
            ResultRequest(baseline, candidate, bundle, overrides, max_drop, threads, output, line), as_json
        )
        return
    _refuse("--bundle", bundle, "it belongs to the result.json of a device")
    _refuse("--output", output, "the report is on the result.json of a device; --json prints what two models come to")
    if is_result(baseline):
        raise UsageError(
            "EK001",
            "a device's result is compared with a baseline, not a model with it",
            where=baseline,
            hint=f"turn them round: edgekit validate {candidate} {baseline}",
        )
    from edgekit.pipeline.validate import ValidateRequest, validate_models

    request = ValidateRequest(baseline, candidate, overrides, evaluation, evaluation_samples, max_drop, threads)
    with common.workers(ray, ray_address) as workers, common.progress() as progress:
        outcome = validate_models(request, progress=progress, workers=workers)
    if as_json:
        common.print_json(_facts(outcome))
    else:
        _print(request.baseline, request.candidate, outcome)
    if not outcome.verdict.passed:
        raise typer.Exit(common.CHECK_FAILED)


def _refuse(option: str, value: object, why: str) -> None:
    if value is not None:
        raise UsageError("EK001", f"the option does not apply: {why}", where=option, hint="leave it out")


def _validate_result(request: ResultRequest, as_json: bool) -> None:
    from edgekit.pipeline.device_result import validate_result
    from edgekit.report import render_device

    report = validate_result(request)
    if as_json:
        common.print_json(report.model_dump(mode="json", by_alias=True))
    else:
        render_device(report, common.output_console())
    if not report.verdict.passed:
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
