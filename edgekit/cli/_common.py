"""What the commands share: option types, the two consoles, and progress on standard error."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from edgekit.errors import UsageError
from edgekit.spec import Activation, Note, Padding

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.models import Overrides
    from edgekit.pipeline.cluster import Workers

# Exit code of a command whose check did not pass.
CHECK_FAILED = 1

Word = TypeVar("Word", bound=str)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the facts as JSON on standard output.")]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="A .safetensors or .pth/.pt state_dict, or an .onnx file; an architecture's name for random weights. "
        "Default: the CIFAR-10 MobileNet that ships with edgekit.",
        show_default=False,
    ),
]
CheckpointArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="A .safetensors or .pth/.pt state_dict; an architecture's name for random weights. Default: the CIFAR-10 "
        "MobileNet that ships with edgekit.",
        show_default=False,
    ),
]
ArchOption = Annotated[
    str | None, typer.Option("--arch", help="Architecture of a checkpoint whose metadata does not say.")
]
WidthOption = Annotated[float | None, typer.Option(help="Width multiplier.")]
ClassesOption = Annotated[int | None, typer.Option("--num-classes", help="Number of classes.")]
InputSizeOption = Annotated[int | None, typer.Option(help="Height and width of the input, in pixels.")]
PaddingOption = Annotated[str | None, typer.Option(help="torch, or tf_same for checkpoints that come from TensorFlow.")]
BnEpsOption = Annotated[float | None, typer.Option(help="Epsilon of batch normalisation.")]
StemStrideOption = Annotated[int | None, typer.Option(help="Stride of the first convolution; 1 suits 32x32 images.")]
OutputStrideOption = Annotated[int | None, typer.Option(help="Input size over last feature map size: 4, 8, 16 or 32.")]
ActivationOption = Annotated[str | None, typer.Option(help="MobileNetV1: relu6 or relu.")]
ConvBiasOption = Annotated[bool | None, typer.Option(help="MobileNetV1: convolutions with biases of their own.")]
MeanOption = Annotated[str | None, typer.Option(help="Mean of R,G,B in units of 0..1, e.g. 0.485,0.456,0.406.")]
EngineTargetOption = Annotated[str, typer.Option("--target", help="A target with TensorRT, of edgekit targets.")]
JetpackOption = Annotated[str | None, typer.Option(help="JetPack of the target. Default: the newest of its card.")]
StdOption = Annotated[str | None, typer.Option(help="Standard deviation of R,G,B in units of 0..1.")]
RayOption = Annotated[bool, typer.Option("--ray", help="Work on a Ray cluster, started on this machine for it.")]
RayAddressOption = Annotated[
    str | None, typer.Option(help="Work on this Ray cluster: HOST:PORT, ray://HOST:PORT, or auto.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="Where to train: auto (a GPU where there is one), cpu, cuda, cuda:N. Several: torchrun -m edgekit train."
    ),
]
ResizeOption = Annotated[int | None, typer.Option(help="Length of the short side before the centre crop, in pixels.")]


def output_console() -> Console:
    """Return the console for results: standard output, no colours when it is not a terminal."""
    from rich.console import Console

    # What is printed holds names from files of strangers: they are text, never markup.
    width = None if sys.stdout.isatty() else 100
    return Console(file=sys.stdout, markup=False, emoji=False, highlight=False, width=width)


def printable(text: str) -> str:
    """Return text with a question mark for each control character, which could command a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def print_notes(console: Console, notes: Iterable[Note]) -> None:
    """Print one line a note, after the name of the stage that says it."""
    for note in notes:
        console.print(printable(f"{note.source}: {note.text}"), soft_wrap=True)


def print_json(facts: Any) -> None:
    """Print facts as JSON on standard output."""
    print(json.dumps(facts, indent=2, allow_nan=False))


def three_numbers(text: str | None, option: str) -> tuple[float, float, float] | None:
    """Read `R,G,B`; one number stands for all three.

    Raises:
        UsageError: EK001 when it is something else.
    """
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
        if len(values) == 1:
            values *= 3
    except ValueError:
        values = []
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise UsageError("EK001", f"{text!r} is not three numbers", where=option, hint="write it as 0.485,0.456,0.406")
    return values[0], values[1], values[2]


def choice(value: str, allowed: tuple[Word, ...], option: str) -> Word:
    """Return `value` if it is one of the allowed words; raises UsageError EK001."""
    if value not in allowed:
        raise UsageError("EK001", f"{value!r} is not known", where=option, hint=f"take one of {', '.join(allowed)}")
    return value


def overrides(
    *,
    padding: str | None = None,
    activation: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    **others: Any,
) -> Overrides:
    """Put together what the user says about a model; raises UsageError EK001 for what cannot be.

    Args:
        padding: Text of `--padding`.
        activation: Text of `--activation`.
        mean: Text of `--mean`.
        std: Text of `--std`.
        **others: Further fields of `Overrides`, as they are.
    """
    from edgekit.models import Overrides

    return Overrides(
        padding=None if padding is None else choice(padding, get_args(Padding), "--padding"),
        activation=None if activation is None else choice(activation, get_args(Activation), "--activation"),
        mean=three_numbers(mean, "--mean"),
        std=three_numbers(std, "--std"),
        **others,
    )


@contextlib.contextmanager
def workers(ray: bool, address: str | None, count: int | None = None) -> Iterator[Workers | None]:
    """Yield the workers of the Ray cluster that is asked for; None when none is."""
    if not ray and address is None:
        yield None
        return
    from edgekit.pipeline.cluster import ray_workers

    with ray_workers(address, count) as there:
        yield there


def set_threads(count: int) -> None:
    """Let torch take `count` threads; 0 leaves it all cores."""
    if count:
        import torch

        torch.set_num_threads(count)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    """Yield `start(title, total)`, which begins a progress bar and returns the function that advances it.

    Bars are drawn on standard error, and not at all when that is not a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bars:

        def start(title: str, total: int | None) -> Callable[[int], None]:
            task = bars.add_task(title, total=total)
            return lambda amount: bars.advance(task, amount)

        yield start
