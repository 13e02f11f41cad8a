"""`edgekit inspect`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common
from edgekit.spec import Precision

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.pipeline.inspect import Fixed, InspectedLayer, Inspection
    from edgekit.quantize.lint import Finding

LONGEST_VALUE = 200
SHOWN_PLACES = 3
WIDTH = 200


def command(
    model: Annotated[Path, typer.Argument(help="An .onnx file, of edgekit or any other tool.")],
    baseline: Annotated[
        Path | None,
        typer.Option(help="The FP32 .onnx file it was made from. Default: model.fp32.onnx beside it, if there is one."),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES", help="Images to compare layers on. Default: some of the sample that ships, where it fits."
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            help="What the file is to run on: cpu, cpu-avx2 (without VNNI), tensorrt, or a name of edgekit targets."
        ),
    ] = "cpu",
    fix: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Mend what can be mended and write the result here.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when lint finds an error or a warning.")] = False,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    resize: common.ResizeOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show what each layer of an ONNX model really runs in, how far it is from FP32, and what is wrong with it."""
    overrides = common.overrides(mean=mean, std=std, resize=resize)
    from edgekit.pipeline.inspect import inspect_model

    with common.progress() as progress:
        inspection = inspect_model(
            model, baseline=baseline, images=images, target=target, fix=fix, overrides=overrides, progress=progress
        )
    if as_json:
        common.print_json(_facts(inspection))
    else:
        _print(inspection, common.output_console())
    found = inspection.findings if inspection.fixed is None else inspection.fixed.remaining
    if strict and any(finding.severity.value != "info" for finding in found):
        raise typer.Exit(common.CHECK_FAILED)


def _facts(inspection: Inspection) -> dict[str, Any]:
    facts = dataclasses.asdict(inspection)
    facts["notes"] = [note.text for note in inspection.notes]
    return facts


def _print(inspection: Inspection, console: Console) -> None:
    if not console.is_terminal:
        console.width = WIDTH  # A file or a pipe has room for long names; a terminal wraps them.
    layers = inspection.layers
    integer = sum(layer.precision is Precision.INT8 for layer in layers)
    path = common.printable(inspection.path)
    console.print(f"{path}: opset {inspection.opset}, {integer} of {len(layers)} nodes compute in int8")
    if integer or inspection.baseline is not None:
        _print_layers(layers, inspection, console)
    counts = Counter(operator.op_type for operator in inspection.runtime)
    runs = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    console.print(f"onnxruntime runs: {common.printable(runs)}")
    if integer:
        left = common.printable(", ".join(inspection.float_compute)) or "none"
        console.print(f"convolutions and linear layers that onnxruntime runs in float: {left}")
    for key, value in inspection.metadata.items():
        short = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}…"
        console.print(common.printable(f"{key}: {short}"), soft_wrap=True)
    for note in inspection.notes:
        console.print(common.printable(f"note: {note.text}"))
    _print_findings(inspection.findings, console)
    if inspection.fixed is not None:
        _print_fixed(inspection.fixed, console)
    console.print(_summary(inspection))


def _print_layers(layers: tuple[InspectedLayer, ...], inspection: Inspection, console: Console) -> None:
    from rich.table import Table

    measured = inspection.baseline is not None
    columns = ("layer", "operator", "runs as", "in", *(("SQNR",) if measured else ()), "why float")
    table = Table(*columns, box=None, pad_edge=False)
    for layer in layers:
        precision = "unknown" if layer.precision is None else layer.precision.value
        ratio = "–" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f} dB"
        why = "" if layer.precision is Precision.INT8 else layer.reason
        cells = (layer.node, layer.op_type, layer.runs_as or "?", precision, *((ratio,) if measured else ()), why)
        table.add_row(*map(common.printable, cells))
    console.print(table)
    if measured:
        said = f"SQNR of each layer's output, behind its activation, against {inspection.baseline}"
        console.print(common.printable(f"{said}, on {inspection.images}"))


def _print_findings(findings: tuple[Finding, ...], console: Console) -> None:
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    for rule, found in by_rule.items():
        fixable = sum(finding.fixable for finding in found)
        times = "once" if len(found) == 1 else f"{len(found)} times"
        mendable = f", --fix mends {fixable}" if fixable else ""
        places = "; ".join(finding.what for finding in found[:SHOWN_PLACES])
        more = f"; and {len(found) - SHOWN_PLACES} more" if len(found) > SHOWN_PLACES else ""
        console.print(f"{rule} {found[0].severity.value}, {times}{mendable}: {common.printable(places)}{more}")
        console.print(f"  why: {found[0].why}")
        console.print(f"  fix: {found[0].fix}")


def _print_fixed(fixed: Fixed, console: Console) -> None:
    for note in fixed.changes:
        console.print(common.printable(f"mended {note.source}: {note.text}"))
    what = "with these changes" if fixed.changes else "unchanged: there was nothing that --fix mends"
    console.print(f"wrote {common.printable(fixed.path)}, {what}")


def _summary(inspection: Inspection) -> str:
    from edgekit.quantize.lint import summary

    def counted(findings: tuple[Finding, ...]) -> str:
        counts = [
            (name if number == 1 or name == "info" else f"{name}s", number)
            for name, number in summary(findings).items()
            if number
        ]
        return ", ".join(f"{number} {name}" for name, number in counts) or "nothing"

    line = f"lint for {inspection.target}: {counted(inspection.findings)}"
    return line if inspection.fixed is None else f"{line}; after the fix: {counted(inspection.fixed.remaining)}"
