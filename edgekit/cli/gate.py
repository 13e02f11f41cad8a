"""`edgekit gate`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.gate import GateOutcome, GateRequest
    from edgekit.pipeline.gate_limits import GateTable
    from edgekit.validate.gate import Baseline

SCHEMA = "edgekit.gate/1"
# Exit code where the evidence is enough for neither pass nor fail.
INCONCLUSIVE = 3


def command(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[BASELINE] CANDIDATE",
            help="Checkpoints or .onnx files. Without BASELINE, the committed one is compared with.",
        ),
    ],
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--eval",
            metavar="IMAGES",
            help="Images, with labels for --max-drop. Default: the CIFAR-10 sample, where it fits.",
        ),
    ] = None,
    evaluation_samples: Annotated[
        int | None, typer.Option("--eval-samples", min=1, help="How many of them, evenly spread. Default: all.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Largest loss of top-1, in points. Default: 1, where no limit is set at all.")
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(help="Smallest share of images that both answer alike, in percent.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="BYTES|RATIO", help="Largest size: 1500000, or 0.3x of the baseline's.")
    ] = None,
    min_speedup: Annotated[
        float | None, typer.Option(help="Smallest ratio of the baseline's median time over the candidate's.")
    ] = None,
    max_p99_ratio: Annotated[
        float | None, typer.Option(help="Largest ratio of the candidate's 99th percentile of time over the baseline's.")
    ] = None,
    these_images: Annotated[
        bool | None,
        typer.Option(
            "--these-images/--images-like-these",
            help="Judge the images evaluated and no others, without statistics. Default: images like these.",
        ),
    ] = None,
    allow_inconclusive: Annotated[
        bool | None, typer.Option(help=f"Exit 0 and not {INCONCLUSIVE} where the evidence is too little.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with the limits. Default: edgekit.toml, if there is one here.")
    ] = None,
    committed: Annotated[
        Path | None, typer.Option("--baseline", help="The committed baseline. Default: edgekit-baseline.json.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Record CANDIDATE as the committed baseline, and judge nothing.")
    ] = False,
    diagnose: Annotated[
        bool, typer.Option("--diagnose/--no-diagnose", help="Find where the loss comes from when there is too much.")
    ] = True,
    threads: Annotated[int, typer.Option(min=0, help="Threads that a timed frame may use; 0 takes all cores.")] = 0,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    resize: common.ResizeOption = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0 to this file.")] = None,
    summary: Annotated[Path | None, typer.Option(help="Add Markdown to this file, as $GITHUB_STEP_SUMMARY.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one offline page; needs BASELINE, a committed one has no logits.")
    ] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Fail CI when a model got worse: pass (exit 0), fail (1) or inconclusive (3)."""
    baseline, candidate = _two(models)
    overrides = common.overrides(mean=mean, std=std, resize=resize)
    from edgekit.files import check_folder
    from edgekit.pipeline.gate import BASELINE_FILE, GateRequest, gate_models, update_baseline
    from edgekit.pipeline.gate_limits import CONFIG_FILE, GateTable, merged, read_gate_table
    from edgekit.validate.gate import SizeLimit

    table = GateTable()
    if config is not None or Path(CONFIG_FILE).is_file():
        table = read_gate_table(config or Path(CONFIG_FILE))
    flags = {
        "max_drop": max_drop,
        "min_agreement": min_agreement,
        "max_size": None if max_size is None else SizeLimit.of(max_size, where="--max-size"),
        "min_speedup": min_speedup,
        "max_p99_ratio": max_p99_ratio,
        "these_images": these_images,
    }
    if html is not None and baseline is None:
        raise UsageError(
            "EK001", "a committed baseline holds too little for a page", where="--html", hint="give BASELINE CANDIDATE"
        )
    for path in (junit, sarif, summary, html):
        if path is not None:
            check_folder(path.parent)
    line = shlex.join(["edgekit", *(context.obj or ())])
    request = GateRequest(
        candidate, baseline, committed or Path(BASELINE_FILE), merged(table, flags), overrides,
        evaluation, evaluation_samples, threads, line, diagnose, html,
    )  # fmt: skip
    if update:
        with common.progress() as progress:
            recorded = update_baseline(request, progress=progress)
        _print_recorded(recorded, request.committed, as_json)
        return
    began = time.monotonic()
    with common.progress() as progress:
        outcome = gate_models(request, progress=progress)
    allowed = table.allow_inconclusive if allow_inconclusive is None else allow_inconclusive
    _write(outcome, junit, sarif, summary, time.monotonic() - began, allowed)
    code = _exit_code(outcome, allowed)
    if as_json:
        common.print_json(_facts(outcome, request, table, code))
    else:
        from edgekit.report import render_gate

        render_gate(outcome.result, common.output_console(), diagnosis=_diagnosis(outcome))
    if code:
        raise typer.Exit(code)


def _two(models: list[str]) -> tuple[str | None, str]:
    if len(models) > 2:
        raise UsageError(
            "EK001",
            f"{len(models)} models were given",
            where="[BASELINE] CANDIDATE",
            hint="give the candidate, or the baseline and the candidate",
        )
    return (None if len(models) == 1 else models[0]), models[-1]


def _exit_code(outcome: GateOutcome, allow_inconclusive: bool) -> int:
    undecided = 0 if allow_inconclusive else INCONCLUSIVE
    return {"pass": 0, "fail": common.CHECK_FAILED, "inconclusive": undecided}[outcome.result.outcome]


def _write(
    outcome: GateOutcome,
    junit: Path | None,
    sarif: Path | None,
    summary: Path | None,
    seconds: float,
    allow_inconclusive: bool,
) -> None:
    import edgekit
    from edgekit import report
    from edgekit.files import write_bytes, write_json

    result, diagnosis = outcome.result, _diagnosis(outcome)
    if junit is not None:
        now = dt.datetime.now(dt.timezone.utc)
        content = report.junit_xml(
            result, time=now, seconds=seconds, allow_inconclusive=allow_inconclusive, diagnosis=diagnosis
        )
        write_bytes(junit, content)
    if sarif is not None:
        write_json(sarif, report.sarif(result, version=edgekit.__version__, diagnosis=diagnosis))
    if summary is not None:
        # Other steps write to GitHub's file too.
        before = summary.read_bytes() if summary.is_file() else b""
        write_bytes(summary, before + report.summary_markdown(result, diagnosis=diagnosis).encode())


def _diagnosis(outcome: GateOutcome) -> Any:
    return None if outcome.comparison is None else outcome.comparison.diagnosis


def _facts(outcome: GateOutcome, request: GateRequest, table: GateTable, code: int) -> dict[str, Any]:
    import edgekit

    comparison = outcome.comparison
    measured = {
        name: None if comparison is None or (value := getattr(comparison, name)) is None else dataclasses.asdict(value)
        for name in ("drift", "latency", "noise", "diagnosis")
    }
    return {
        "schema": SCHEMA,
        "edgekit": edgekit.__version__,
        "command": request.command,
        "exit_code": code,
        **dataclasses.asdict(outcome.result),
        "limits": dataclasses.asdict(request.limits),
        **measured,
    }


def _print_recorded(baseline: Baseline, path: Path, as_json: bool) -> None:
    if as_json:
        common.print_json({"path": str(path), **baseline.model_dump(mode="json", by_alias=True)})
        return
    top1 = "no labels" if baseline.top1 is None else f"top-1 {baseline.top1:.2f} %"
    console = common.output_console()
    text = f"wrote {path}: {baseline.model.name}, {baseline.images.count:,} images of {baseline.images.name}, {top1}"
    console.print(common.printable(text), soft_wrap=True)
