"""`edgekit validate`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.device_result import ResultRequest


def command(
    context: typer.Context,
    baseline: Annotated[
        str, typer.Argument(help="Checkpoint or .onnx file to compare with, or a device's result.json.")
    ],
    candidate: Annotated[
        str, typer.Argument(help="Checkpoint or .onnx file under test, or a device's result.json or bundle.")
    ],
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--eval", metavar="IMAGES", help="Labelled images. Default: the CIFAR-10 sample that ships, where it fits."
        ),
    ] = None,
    evaluation_samples: Annotated[
        int | None,
        typer.Option("--eval-samples", min=1, help="How many of them, evenly spread. Default: all."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Exit 1 when top-1 (without labels: agreement) drops by more points.")
    ] = None,
    need: Annotated[
        float | None,
        typer.Option(help="Also say how many images it takes to show a drop of so many points, with 80 % power."),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads that a timed frame may use; 0 takes all cores.")] = 0,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    resize: common.ResizeOption = None,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Time the two in turns; without it drift alone.")
    ] = True,
    diagnose: Annotated[bool, typer.Option("--diagnose", help="Also find where the loss comes from.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write one offline page, to look at and to print.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for comparison.json; of a device's result for report.json.")
    ] = None,
    ray: common.RayOption = False,
    ray_address: common.RayAddressOption = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle that result.json answers. Default: the folder that it lies in.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Compare any two of model and device result: accuracy drift and time per frame."""
    overrides = common.overrides(mean=mean, std=std, resize=resize)
    from edgekit.pipeline.device_result import ResultRequest, is_result

    line = shlex.join(["edgekit", *(context.obj or ())])
    if is_result(candidate):
        for option, given in (("--eval", evaluation), ("--eval-samples", evaluation_samples)):
            _refuse(option, given is not None, "a device answers the samples of its bundle alone")
        _refuse("--ray", ray or ray_address is not None, "the answers of a device are compared here")
        _refuse("--need", need is not None, "the samples of a bundle have no labels")
        for option, wanted in (("--no-timing", not timing), ("--diagnose", diagnose), ("--html", html is not None)):
            _refuse(option, wanted, "it is for two models, and this is the result.json of a device")
        _validate_result(
            ResultRequest(baseline, candidate, bundle, overrides, max_drop, threads, output, line), as_json
        )
        return
    _refuse("--bundle", bundle is not None, "it belongs to the result.json of a device")
    if is_result(baseline):
        raise UsageError(
            "EK001",
            "a device's result is compared with a baseline, not a model with it",
            where=baseline,
            hint=f"turn them round: edgekit validate {candidate} {baseline}",
        )
    from edgekit.pipeline.validate import ValidateRequest, validate_models
    from edgekit.report import comparison_json, render_validation

    request = ValidateRequest(
        baseline, candidate, overrides, evaluation, evaluation_samples, max_drop, threads,
        timing=timing, diagnose=diagnose, html=html, output=output, command=line, need=need,
    )  # fmt: skip
    with common.workers(ray, ray_address) as workers, common.progress() as progress:
        comparison = validate_models(request, progress=progress, workers=workers)
    if as_json:
        common.print_json(comparison_json(comparison))
    else:
        render_validation(comparison, common.output_console())
    if not comparison.verdict.passed:
        raise typer.Exit(common.CHECK_FAILED)


def _refuse(option: str, given: bool, why: str) -> None:
    if given:
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
