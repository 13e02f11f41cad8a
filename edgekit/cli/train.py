"""`edgekit train`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgekit.cli import _common as common

if TYPE_CHECKING:
    from rich.progress import TaskID

    from edgekit.pipeline.train import TrainOutcome
    from edgekit.training import EpochResult, Recipe, Step


def command(
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="IMAGES",
            help="Training images: a class-per-folder tree, .zip, .npz, .tar, tar shards, URL.",
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Checkpoint to start from; an architecture's name for random weights. Default: mobilenet_v1.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for model.safetensors and training.pt.")] = Path("trained"),
    evaluation: Annotated[
        str | None, typer.Option("--eval", metavar="IMAGES", help="Images to measure accuracy on.")
    ] = None,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Epochs from one evaluation to the next.")] = 1,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="sgd, rmsprop_v1, rmsprop_v3, cifar10, finetune or finetune_cifar10. Default: finetune with MODEL."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; the schedule is stretched to fit.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Highest learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0.0, help="L2 penalty on weights.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(min=0.0, max=0.999, help="Label smoothing.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Checkpoint to learn from beside the labels.")] = None,
    distill_weight: Annotated[float, typer.Option(help="Share of the loss that is distance from the teacher.")] = 0.7,
    temperature: Annotated[float, typer.Option(help="Softens the logits of model and teacher.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights, image order and augmentation.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0 takes all cores.")] = 0,
    device: common.DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from OUTPUT/training.pt to the same result.")] = False,
    arch: common.ArchOption = None,
    width: common.WidthOption = None,
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
    """Train or fine-tune a MobileNet on labelled images; resumes to the same result."""
    from edgekit.models import names
    from edgekit.pipeline.train import TrainRequest, train_model
    from edgekit.training import recipe as named_recipe

    if model is not None and str(model) in names() and not model.exists():
        arch, model = arch or str(model), None
    changes = {
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    chosen = named_recipe(recipe or ("finetune" if model else "sgd"))
    chosen = dataclasses.replace(chosen.lasting(epochs or chosen.epochs), **given)  # type: ignore[arg-type]
    common.set_threads(threads)
    request = TrainRequest(
        images=data,
        recipe=chosen,
        output=output,
        model=model,
        overrides=common.overrides(
            architecture=arch,
            width=width,
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
        ),
        evaluation=evaluation,
        evaluate_every=evaluate_every,
        teacher=teacher,
        distill_weight=distill_weight,
        temperature=temperature,
        seed=seed,
        resume=resume,
        device=device,
    )  # fmt: skip
    with _Bar(chosen, epochs_as_results=not as_json) as bar:
        outcome = train_model(request, on_step=bar.step, on_epoch=bar.epoch)
    if not outcome.place.first:
        return
    if as_json:
        common.print_json(_facts(outcome))
    else:
        _print(outcome)


class _Bar:
    """A bar and one line an epoch on a terminal; elsewhere each epoch is a line of the result, or nothing.

    Args:
        recipe: Says how many epochs there are.
        epochs_as_results: Print the epochs on standard output where standard error is not a terminal.
    """

    def __init__(self, recipe: Recipe, *, epochs_as_results: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        terminal = sys.stderr.isatty()
        console = Console(stderr=True, highlight=False)
        self._lines = console if terminal else common.output_console() if epochs_as_results else None
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self._bars = Progress(
            *columns,
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not terminal,
        )
        self._epochs = recipe.epochs
        self._task: TaskID | None = None

    def __enter__(self) -> _Bar:  # noqa: PYI034 (Self needs Python 3.11)
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self, step: Step) -> None:
        if self._task is None:
            self._task = self._bars.add_task("training", total=step.epochs * step.steps)
        self._bars.update(
            self._task,
            completed=(step.epoch - 1) * step.steps + step.step,
            description=f"epoch {step.epoch}/{step.epochs}  loss {step.loss:.3f}  top-1 {step.top1:.1f} %",
        )

    def epoch(self, result: EpochResult) -> None:
        if self._lines is None:
            return
        accuracy = "" if result.top1 is None else f"  top-1 {result.top1:.2f} % of {result.evaluated:,}"
        self._lines.print(
            f"epoch {result.epoch:>3}/{self._epochs}  loss {result.loss:.3f}  "
            f"training top-1 {result.train_top1:.1f} %{accuracy}  {result.seconds:.0f} s"
        )


def _facts(outcome: TrainOutcome) -> dict[str, Any]:
    return {
        "checkpoint": str(outcome.checkpoint),
        "model": dataclasses.asdict(outcome.spec),
        "parameters": outcome.parameters,
        "device": str(outcome.place.device),
        "processes": outcome.place.processes,
        "history": [dataclasses.asdict(result) for result in outcome.history],
        "broken": list(outcome.broken),
        "notes": [note.text for note in outcome.notes],
    }


def _print(outcome: TrainOutcome) -> None:
    console = common.output_console()
    last = outcome.history[-1]
    accuracy = "accuracy not measured (no --eval)" if last.top1 is None else f"top-1 {last.top1:.2f} %"
    console.print(
        f"{outcome.spec.architecture} x{outcome.spec.width:g}, {outcome.parameters:,} parameters, "
        f"{last.epoch} epochs: {accuracy}"
    )
    for note in outcome.notes:
        console.print(common.printable(f"note: {note.text}"), soft_wrap=True)
    for image in outcome.broken:
        console.print(common.printable(f"broken image, skipped: {image}"), soft_wrap=True)
    console.print(f"wrote {outcome.checkpoint}", soft_wrap=True)
