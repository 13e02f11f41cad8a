"""`edgekit profile`."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.models import ActivationStatistics, LayerProfile, Profile
    from edgekit.pipeline.estimating import Estimate
    from edgekit.pipeline.profile import ProfileOutcome


def command(
    model: common.ModelArgument = None,
    activations: Annotated[
        str | None,
        typer.Option(metavar="IMAGES", help="Also run these images: mean, deviation and share of zeros of each layer."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many of the images, evenly spread.")] = 64,
    target: Annotated[
        str | None, typer.Option(help="Also estimate the time per frame on this target; nothing is measured.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="For the estimate: fp32, fp16 or int8. Default: fp16 where TensorRT has it.")
    ] = None,
    estimator: Annotated[
        Path | None, typer.Option(help="For the estimate: a file that --fit wrote. Default: the one that ships.")
    ] = None,
    fit: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RESULT",
            help="Profile nothing: fit an estimator to result.json of your device; again for each further one.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="For --fit: the file to write.")] = Path("estimator.toml"),
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
    """Show parameters, MACs and activation bytes, layer by layer and in total; with --target an estimated time."""
    if fit:
        _fit(fit, output, estimator, as_json=as_json)
        return
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
    from edgekit.pipeline.profile import EstimateRequest, profile_model
    from edgekit.targets import EnginePrecision

    chosen = None if precision is None else common.choice(precision, get_args(EnginePrecision), "--precision")
    wanted = None if target is None else EstimateRequest(target, chosen, estimator)
    with common.progress() as progress:
        outcome = profile_model(model, overrides, activations, samples, estimating=wanted, progress=progress)
    if as_json:
        common.print_json(_facts(outcome))
        return
    console = common.output_console()
    _print_layers(outcome, console)
    _print_totals(outcome.profile, console)
    if outcome.estimate is not None:
        _print_estimate(outcome.estimate, console)
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
        "estimate": None if outcome.estimate is None else _estimate_facts(outcome.estimate),
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
    titles = ("output", "parameters", "MACs", "share", "activation")
    times = [] if outcome.estimate is None else [f"{time.ms:.3f}" for time in outcome.estimate.layers]
    for title in (*titles, "est. ms") if times else titles:
        table.add_column(title, justify="right")
    for layer, *time in zip(cost.layers, times, strict=True) if times else ((layer,) for layer in cost.layers):
        table.add_row(*_cells(layer, cost.macs), *time)
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


def _estimate_facts(estimate: Estimate) -> dict[str, Any]:
    facts = dataclasses.asdict(dataclasses.replace(estimate, anchors=()))
    anchors = [anchor.model_dump() for anchor in estimate.anchors]
    return {
        "is_an_estimate": True,
        **facts,
        "factor": estimate.factor if math.isfinite(estimate.factor) else None,
        "anchors": anchors,
    }


def _print_estimate(estimate: Estimate, console: Console) -> None:
    from rich.table import Table

    total, factor = estimate.total_ms, estimate.factor
    shown = f"estimated, not measured: {total:.1f} ms a frame on {estimate.target} in {estimate.precision.upper()}"
    if math.isfinite(factor):
        shown += f", give or take a factor of {factor:.1f}: {total / factor:.1f} to {total * factor:.1f} ms"
    else:
        shown += f"; too few published times of such devices ({len(estimate.anchors)}) to say how far off"
    console.print(common.printable(shown), soft_wrap=True)
    if not any(anchor.precision == estimate.precision for anchor in estimate.anchors):
        console.print(f"no time in {estimate.precision.upper()} was fitted: that it follows the card's peak is assumed")
    if not estimate.anchors:
        return
    table = Table("fitted to", "target", "precision", box=None, pad_edge=False)
    for title in ("published ms", "estimated", "error", "left out"):
        table.add_column(title, justify="right")
    for anchor in estimate.anchors:
        error, left_out = (100 * (ms / anchor.measured_ms - 1) for ms in (anchor.estimated_ms, anchor.left_out_ms))
        times = (f"{anchor.measured_ms:.2f}", f"{anchor.estimated_ms:.2f}", f"{error:+.0f} %", f"{left_out:+.0f} %")
        table.add_row(*map(common.printable, (anchor.model, anchor.target, anchor.precision)), *times)
    console.print(table)
    console.print("left out: the error where the fit did not know that time; edgekit profile --fit takes your own.")


def _fit(results: list[Path], output: Path, estimator: Path | None, *, as_json: bool) -> None:
    """Fit an estimator to answers of devices, and say what came of it."""
    from edgekit.pipeline.estimating import fit_results

    fitted = fit_results(results, output, estimator)
    if as_json:
        common.print_json({"output": str(output), **fitted.model_dump()})
        return
    console = common.output_console()
    for family in fitted.families:
        which = "with" if family.tensor_cores else "without"
        console.print(
            f"{which} tensor cores: {100 * family.bandwidth_share:.0f} % of the bandwidth, "
            f"{100 * family.compute_share:.0f} % of the arithmetic rate, {family.launch_us:.0f} us a layer, "
            f"from {len(family.anchors)} times",
            soft_wrap=True,
        )
    console.print(
        common.printable(f"wrote {output}; edgekit profile --target NAME --estimator takes it"), soft_wrap=True
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
