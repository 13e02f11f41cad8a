"""`edgekit profile`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.models import ActivationStatistics, LayerProfile, Profile
    from edgekit.pipeline.profile import ProfileOutcome


def command(
    model: common.ModelArgument = None,
    activations: Annotated[
        Path | None,
        typer.Option(metavar="IMAGES", help="Also run these images: mean, deviation and share of zeros of each layer."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many of the images, evenly spread.")] = 64,
    arch: common.ArchOption = None,
    width: common.WidthOption = None,
    num_classes: common.ClassesOption = None,
    input_size: common.InputSizeOption = None,
    padding: common.PaddingOption = None,
    bn_eps: common.BnEpsOption = None,
    stem_stride: common.StemStrideOption = None,
    output_stride: common.OutputStrideOption = None,
    activation: common.ActivationOption = None,
    conv_bias: common.ConvBiasOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    resize: common.ResizeOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Show parameters, MACs and activation bytes, layer by layer and in total."""
    overrides = common.overrides(
        architecture=arch,
        width=width,
        num_classes=num_classes,
        input_size=input_size,
        padding=padding,
        bn_eps=bn_eps,
        stem_stride=stem_stride,
        output_stride=output_stride,
        activation=activation,
        conv_bias=conv_bias,
        mean=mean,
        std=std,
        resize=resize,
    )
    from edgekit.pipeline.profile import profile_model

    with common.progress() as progress:
        outcome = profile_model(model, overrides, activations, samples, progress=progress)
    if as_json:
        common.print_json(_facts(outcome))
        return
    console = common.output_console()
    _print_layers(outcome, console)
    _print_totals(outcome.profile, console)
    if outcome.statistics is not None:
        _print_statistics(outcome.statistics, console)
    for note in outcome.notes:
        console.print(f"note: {note.text}")


def _facts(outcome: ProfileOutcome) -> dict[str, Any]:
    cost = outcome.profile
    return {
        "model": {"source": outcome.source, **dataclasses.asdict(outcome.spec)},
        "total": {
            "parameters": cost.parameters,
            "macs": cost.macs,
            "standard_macs": cost.standard_macs,
            "activation_bytes": cost.activation_bytes,
        },
        "layers": [dataclasses.asdict(layer) for layer in cost.layers],
        "activations": None
        if outcome.statistics is None
        else [dataclasses.asdict(statistics) for statistics in outcome.statistics],
        "notes": [note.text for note in outcome.notes],
    }


def _print_layers(outcome: ProfileOutcome, console: Console) -> None:
    from rich.table import Table

    spec, cost = outcome.spec, outcome.profile
    console.print(
        f"{outcome.source}: {spec.architecture} x{spec.width:g}, {spec.input_size}x{spec.input_size}, "
        f"{spec.num_classes} classes"
    )
    table = Table("layer", "kind", box=None, pad_edge=False)
    for title in ("output", "parameters", "MACs", "share", "activation"):
        table.add_column(title, justify="right")
    for layer in cost.layers:
        table.add_row(*_cells(layer, cost.macs))
    console.print(table)


def _cells(layer: LayerProfile, total_macs: int) -> tuple[str, ...]:
    return (
        layer.name,
        layer.kind,
        "x".join(map(str, layer.output_shape)),
        f"{layer.parameters:,}",
        f"{layer.macs:,}",
        f"{100 * layer.macs / total_macs:.1f} %",
        f"{layer.activation_bytes / 1024:,.1f} KiB",
    )


def _print_totals(cost: Profile, console: Console) -> None:
    console.print(
        f"total: {cost.parameters:,} parameters, {cost.macs / 1e6:,.1f} M MACs, "
        f"{cost.activation_bytes / 2**20:.2f} MiB of activations (float32)"
    )
    console.print(
        f"with standard instead of depthwise-separable convolutions: {cost.standard_macs / 1e6:,.1f} M MACs, "
        f"{cost.standard_macs / cost.macs:.1f} times as many"
    )


def _print_statistics(statistics: tuple[ActivationStatistics, ...], console: Console) -> None:
    from rich.table import Table

    table = Table("layer", "kind", box=None, pad_edge=False, title="activations", title_justify="left")
    for title in ("mean", "std", "zeros", "min", "max"):
        table.add_column(title, justify="right")
    for layer in statistics:
        table.add_row(
            layer.name,
            layer.kind,
            f"{layer.mean:.3f}",
            f"{layer.std:.3f}",
            f"{100 * layer.zero_share:.1f} %",
            f"{layer.minimum:.2f}",
            f"{layer.maximum:.2f}",
        )
    console.print(table)
