"""`edgekit diff`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.pipeline.diff import ModelDifference, RunDifference
    from edgekit.pipeline.run import Difference


def command(
    first: Annotated[
        str, typer.Argument(help="A checkpoint, an .onnx file, or a run: its output folder or lock file.")
    ],
    second: Annotated[str, typer.Argument(help="Another of the same.")],
    every: Annotated[bool, typer.Option("--all", help="Show layers that are the same too.")] = False,
    as_json: common.JsonOption = False,
) -> None:
    """Say what changed between two models, layer by layer, or between two runs; exit 0 whatever it finds."""
    from edgekit.pipeline.diff import ModelDifference, diff

    found = diff(first, second)
    if as_json:
        common.print_json({"same": found.same, **dataclasses.asdict(found)})
    elif isinstance(found, ModelDifference):
        _print_models(found, common.output_console(), every=every)
    else:
        _print_runs(found, common.output_console(), every=every)


def _print_models(found: ModelDifference, console: Console, *, every: bool) -> None:
    from rich.table import Table

    _print_differences("", found.metadata, console)
    shown = [layer for layer in found.layers if every or layer.change != "same"]
    if shown:
        table = Table("layer", "change", "distance", "what", box=None, pad_edge=False)
        for layer in shown:
            distance = "" if layer.distance is None else f"{layer.distance:.4f}"
            table.add_row(common.printable(layer.name), layer.change, distance, common.printable("; ".join(layer.what)))
        console.print(table)
    same = sum(layer.change == "same" for layer in found.layers)
    console.print(f"{len(found.layers) - same} of {len(found.layers)} layers differ")


def _print_runs(found: RunDifference, console: Console, *, every: bool) -> None:
    for title, differences in (
        ("setting ", found.settings),
        ("version ", found.versions),
        ("number ", found.numbers),
    ):
        _print_differences(title, differences, console)
    for difference in found.files:
        line = f"file {difference.what}: {difference.was[:12]} → {difference.now[:12]}"
        console.print(common.printable(line), soft_wrap=True)
    for model in found.models:
        console.print(common.printable(f"{model.first} and {model.second}:"), soft_wrap=True)
        _print_models(model, console, every=every)
    if found.same:
        console.print("the results are the same, byte for byte")


def _print_differences(title: str, differences: Iterable[Difference], console: Console) -> None:
    for difference in differences:
        line = f"{title}{difference.what}: {difference.was} → {difference.now}"
        console.print(common.printable(line), soft_wrap=True)
