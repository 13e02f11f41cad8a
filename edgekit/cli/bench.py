"""`edgekit bench`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated, get_args

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError


def command(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL]...",
            help="Checkpoints, .onnx files or architecture names; the first is what the others are compared with. "
            "Default: the CIFAR-10 MobileNet that ships with edgekit.",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="What runs them: onnxruntime, openvino or torch.")] = "onnxruntime",
    provider: Annotated[str, typer.Option(help="What onnxruntime runs on: cpu, cuda or tensorrt.")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="Threads that a frame may use; 0 takes all cores.")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Timed frames of each model; ten at least are timed.")] = 400,
    budget: Annotated[float, typer.Option(help="Seconds for all the timing; fewer frames fit into less.")] = 30.0,
    batch: Annotated[str, typer.Option(help="Batch sizes for the throughput.")] = "1,8,32",
    memory: Annotated[
        bool, typer.Option("--memory/--no-memory", help="Measure peak memory, each model in a process of its own.")
    ] = True,
    arch: common.ArchOption = None,
    width: common.WidthOption = None,
    num_classes: common.ClassesOption = None,
    input_size: common.InputSizeOption = None,
    output: Annotated[Path | None, typer.Option(help="Folder for bench.json.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Time models in turns: frame times, throughput and memory, beside what this machine measures of itself."""
    overrides = common.overrides(
        architecture=arch, width=width, num_classes=num_classes, input_size=input_size
    )  # fmt: skip
    from edgekit.pipeline.bench import BENCH_FILE, BenchRequest, bench_models
    from edgekit.validate import Provider
    from edgekit.validate.backends import BackendName

    request = BenchRequest(
        models=tuple(models) if models else (None,),
        overrides=overrides,
        backend=common.choice(backend, get_args(BackendName), "--backend"),
        provider=common.choice(provider, get_args(Provider), "--provider"),
        threads=threads,
        frames=frames,
        budget_s=budget,
        batches=_batches(batch),
        memory=memory,
        output=output,
        command=shlex.join(["edgekit", *(context.obj or ())]),
    )
    with common.progress() as progress:
        bench = bench_models(request, progress=progress)
    if as_json:
        common.print_json(dataclasses.asdict(bench))
        return
    from edgekit.report import render_bench

    console = common.output_console()
    render_bench(bench, console)
    if output is not None:
        console.print(common.printable(f"wrote {BENCH_FILE} in {output}/"), soft_wrap=True)


def _batches(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            "EK001", f"{text!r} is no list of batch sizes", where="--batch", hint="write it as 1,8,32"
        ) from None
