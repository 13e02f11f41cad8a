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

    from edgekit.pipeline.inspect import Inspection

LONGEST_VALUE = 200


def command(
    model: Annotated[Path, typer.Argument(help="An .onnx file, of edgekit or any other tool.")],
    every_layer: Annotated[bool, typer.Option("--all", help="List int8 layers too, not only float ones.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Show what each layer of an ONNX model runs in, what was not quantized and why."""
    from edgekit.pipeline.inspect import inspect_model

    inspection = inspect_model(model)
    if as_json:
        common.print_json(_facts(inspection))
        return
    _print(inspection, every_layer, common.output_console())


def _facts(inspection: Inspection) -> dict[str, Any]:
    facts = dataclasses.asdict(inspection)
    facts["layers"] = [{**layer, "precision": layer["precision"].value} for layer in facts["layers"]]
    return facts


def _print(inspection: Inspection, every_layer: bool, console: Console) -> None:
    from rich.table import Table

    layers = inspection.layers
    integer = sum(layer.precision is Precision.INT8 for layer in layers)
    path = common.printable(inspection.path)
    console.print(f"{path}: opset {inspection.opset}, {integer} of {len(layers)} nodes compute in int8")
    shown = [layer for layer in layers if every_layer or layer.precision is Precision.FLOAT]
    if shown and (integer or every_layer):
        table = Table("node", "operator", "runs in", "why", box=None, pad_edge=False)
        for layer in shown:
            cells = (layer.node, layer.op_type, layer.precision.value, layer.reason)
            table.add_row(*map(common.printable, cells))
        console.print(table)
    counts = Counter(operator.op_type for operator in inspection.runtime)
    runs = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    console.print(f"onnxruntime runs: {common.printable(runs)}")
    if integer:
        left = common.printable(", ".join(inspection.float_compute)) or "none"
        console.print(f"convolutions and linear layers that onnxruntime runs in float: {left}")
    for key, value in inspection.metadata.items():
        short = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}…"
        console.print(common.printable(f"{key}: {short}"), soft_wrap=True)
