"""`edgekit prune`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError
from edgekit.results import Latency

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.pipeline.measuring import Measured
    from edgekit.pipeline.prune import PruneOutcome
    from edgekit.pruning import CostKind, Masked, Pruned, Structured
    from edgekit.training import EpochResult, Step


def command(
    output: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    model: common.CheckpointArgument = None,
    method: Annotated[
        str, typer.Option(help="structured: whole channels; unstructured: the smallest weights; 2:4: for sparse cores.")
    ] = "structured",
    macs: Annotated[float | None, typer.Option(help="Structured: multiply-adds after over before, e.g. 0.5.")] = None,
    params: Annotated[float | None, typer.Option(help="Structured: parameters after over before, e.g. 0.5.")] = None,
    latency: Annotated[
        float | None, typer.Option(help="Structured: time per frame after over before, here or on --target.")
    ] = None,
    amount: Annotated[float | None, typer.Option(help="Unstructured: share of the weights that goes.")] = None,
    importance: Annotated[
        str, typer.Option(help="Which channels stay: taylor (gradients on images), l1, l2, bn_scale or fpgm.")
    ] = "taylor",
    widths: Annotated[
        str, typer.Option(help="How many stay: sensitivity (measured) or uniform, the same share everywhere.")
    ] = "sensitivity",
    divisor: Annotated[
        int | None,
        typer.Option(help="Channel counts become multiples of it. Default: 8, or what --target computes at once."),
    ] = None,
    recover: Annotated[
        str,
        typer.Option(
            help="none; bn: measure normalisation anew; repair: refit every layer; then distill: learn from the "
            "original; finetune: learn from labels. Only finetune needs labels."
        ),
    ] = "repair",
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="IMAGES", help="Images to judge, repair and train with. Default: the sample that ships."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many of them judge and repair, evenly spread.")] = 256,
    evaluation: Annotated[
        str | None, typer.Option("--eval", metavar="IMAGES", help="Images to measure accuracy on.")
    ] = None,
    evaluation_samples: Annotated[
        int | None, typer.Option("--eval-samples", min=1, help="How many of them, evenly spread. Default: all.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Device it is for, of edgekit targets.")] = None,
    recipe: Annotated[str, typer.Option(help="distill, finetune: recipe of edgekit train.")] = "finetune",
    epochs: Annotated[int | None, typer.Option(min=1, help="distill, finetune: epochs at most.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="distill, finetune: images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="distill, finetune: highest rate.")] = None,
    patience: Annotated[
        int, typer.Option(min=1, help="distill, finetune: epochs without gain on held-out images before the end.")
    ] = 5,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of training.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0 takes all cores.")] = 0,
    device: common.DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    arch: common.ArchOption = None,
    width: common.WidthOption = None,
    num_classes: common.ClassesOption = None,
    input_size: common.InputSizeOption = None,
    padding: common.PaddingOption = None,
    bn_eps: common.BnEpsOption = None,
    mean: common.MeanOption = None,
    std: common.StdOption = None,
    resize: common.ResizeOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Make a model smaller, and bring what is left back to what the original computes."""
    from typing import get_args

    from edgekit.pipeline.prune import Method, PruneRequest, Recover, prune_model
    from edgekit.pipeline.recovery import Recovery
    from edgekit.training import recipe as named_recipe

    chosen = common.choice(method, get_args(Method), "--method")
    budgets: dict[CostKind, float | None] = {"macs": macs, "params": params, "latency": latency}
    structured = _structured(chosen, budgets, amount, importance, widths, divisor, target)
    changes = {"batch_size": batch_size, "learning_rate": learning_rate}
    given = {name: value for name, value in changes.items() if value is not None}
    training = named_recipe(recipe)
    training = dataclasses.replace(training.lasting(epochs or training.epochs), **given)  # type: ignore[arg-type]
    common.set_threads(threads)
    request = PruneRequest(
        model, output, chosen, structured, amount,
        recover=common.choice(recover, get_args(Recover), "--recover"),
        recovery=Recovery(training, patience, seed, resume, device),
        overrides=common.overrides(
            architecture=arch, width=width, num_classes=num_classes, input_size=input_size, padding=padding,
            bn_eps=bn_eps, mean=mean, std=std, resize=resize,
        ),
        images=data, samples=samples, evaluation=evaluation, evaluation_samples=evaluation_samples, target=target,
        threads=threads,
    )  # fmt: skip
    with common.progress() as progress:
        outcome = prune_model(request, start=progress, on_step=_TrainingBar(progress).step)
    if as_json:
        common.print_json(_facts(outcome))
    else:
        _print(outcome)


class _TrainingBar:
    """One bar over all steps of training, which begins with the first."""

    def __init__(self, start: Callable[[str, int | None], Callable[[int], None]]) -> None:
        self._start = start
        self._advance: Callable[[int], None] | None = None

    def step(self, step: Step) -> None:
        if self._advance is None:
            self._advance = self._start("training", step.epochs * step.steps)
        self._advance(1)


def _structured(
    method: str,
    budgets: Mapping[CostKind, float | None],
    amount: float | None,
    importance: str,
    widths: str,
    divisor: int | None,
    target: str | None,
) -> Structured | None:
    """Read the options of structured pruning; raises UsageError EK001 for those of another method."""
    from typing import get_args

    from edgekit.pipeline.prune import channel_multiple_for
    from edgekit.pruning import Importance, Structured, Widths

    given = [(cost, ratio) for cost, ratio in budgets.items() if ratio is not None]
    if method == "structured" and (len(given) != 1 or amount is not None):
        raise UsageError("EK001", "structured pruning has one budget", where="--method", hint="give --macs 0.5")
    if method == "unstructured" and (given or amount is None):
        raise UsageError("EK001", "unstructured pruning takes a share", where="--method", hint="give --amount 0.2")
    if method == "2:4" and (given or amount is not None):
        raise UsageError("EK001", "2:4 is half of the weights", where="--method", hint="leave out the budget")
    if method != "structured":
        return None
    ((cost, ratio),) = given
    return Structured(
        cost=cost,
        ratio=ratio,
        importance=common.choice(importance, get_args(Importance), "--importance"),
        widths=common.choice(widths, get_args(Widths), "--widths"),
        divisor=channel_multiple_for(target) if divisor is None else divisor,
    )


def _facts(outcome: PruneOutcome) -> dict[str, Any]:
    pruned, masked, measured = outcome.pruned, outcome.masked, outcome.measured
    return {
        "checkpoint": str(outcome.checkpoint),
        "source": outcome.source,
        "model": dataclasses.asdict(outcome.spec),
        "macs": [outcome.before.macs, outcome.after.macs],
        "parameters": [outcome.before.parameters, outcome.after.parameters],
        "groups": None if pruned is None else [
            {"name": name, "before": before, "after": after}
            for name, before, after in zip(pruned.groups, pruned.before, pruned.after, strict=True)
        ],
        "sensitivities": None if pruned is None else [dataclasses.asdict(curve) for curve in pruned.sensitivities],
        "zeros": None if masked is None else {
            "zeros": masked.zeros, "weights": masked.weights, "packed_bytes": masked.packed,
            "layers": masked.layers, "refused": dict(masked.refused),
        },
        "accuracy": [
            None if side is None else dataclasses.asdict(side) for side in (measured.baseline, measured.candidate)
        ],
        "drift": None if measured.drift is None else dataclasses.asdict(measured.drift),
        "latency": dataclasses.asdict(measured.latency),
        "history": [dataclasses.asdict(result) for result in outcome.history],
        "notes": [dataclasses.asdict(note) for note in outcome.notes],
    }  # fmt: skip


def _print(outcome: PruneOutcome) -> None:
    console = common.output_console()
    if outcome.pruned is not None:
        _print_channels(outcome.pruned, console)
    if outcome.masked is not None:
        _print_zeros(outcome.masked, console)
    for result in outcome.history:
        _print_epoch(result, console)
    for title, whole, left in (
        ("MACs", outcome.before.macs, outcome.after.macs),
        ("parameters", outcome.before.parameters, outcome.after.parameters),
    ):
        console.print(f"{title} {whole:,} → {left:,} ({left / whole:.2f})")
    _print_measured(outcome.measured, console)
    common.print_notes(console, outcome.notes)
    console.print(f"wrote {outcome.checkpoint}", soft_wrap=True)


def _print_measured(measured: Measured, console: Console) -> None:
    before, after, drift = measured.baseline, measured.candidate, measured.drift
    if drift is not None:
        low, high = drift.agreement.low, drift.agreement.high
        console.print(
            f"same answer as before: {drift.agreement.value:.1f} % [{low:.1f}, {high:.1f}] of {drift.n:,} images"
        )
    if before is not None and after is not None and before.top1 is not None and after.top1 is not None:
        console.print(
            f"top-1 {before.top1:.2f} → {after.top1:.2f} % of {after.n:,} ({after.top1 - before.top1:+.2f} points)"
        )
    time = measured.latency
    assert isinstance(time, Latency)
    console.print(
        f"time per frame, p50: {time.baseline_ms.p50:.3f} → {time.candidate_ms.p50:.3f} ms, {time.speedup.value:.2f}x "
        f"[{time.speedup.low:.2f}, {time.speedup.high:.2f}]"
    )


def _print_epoch(result: EpochResult, console: Console) -> None:
    held_out = "" if result.top1 is None else f"  held out {result.top1:.2f} % of {result.evaluated:,}"
    console.print(
        f"epoch {result.epoch:>3}  loss {result.loss:.3f}  training top-1 {result.train_top1:.1f} %{held_out}  "
        f"{result.seconds:.0f} s"
    )


def _print_channels(pruned: Pruned, console: Console) -> None:
    from rich.table import Table

    table = Table("channels of", box=None, pad_edge=False)
    for title in ("before", "after", "kept"):
        table.add_column(title, justify="right")
    for name, before, after in zip(pruned.groups, pruned.before, pruned.after, strict=True):
        table.add_row(name, str(before), str(after), f"{100 * after / before:.0f} %")
    console.print(table)


def _print_zeros(masked: Masked, console: Console) -> None:
    console.print(f"zeros: {masked.zeros:,} of {masked.weights:,} weights, in {len(masked.layers)} layers")
    for name, reason in masked.refused:
        console.print(f"left alone: {name}: {reason}")
    before, after = masked.packed
    console.print(f"the checkpoint packs to {before:,} → {after:,} bytes (zip)")
    console.print("onnxruntime and TensorRT compute zeros like any other number: the model is not faster for them")
