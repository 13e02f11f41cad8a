"""`edgekit build`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.build import BundleRequest

ENGINE_FOLDER = "engine"


def command(
    model: common.ModelArgument = None,
    target: common.EngineTargetOption = "jetson-orin-nano",
    host: Annotated[
        str | None, typer.Option(metavar="USER@HOST[:PORT]", help="Build on the device, over ssh with your own keys.")
    ] = None,
    container: Annotated[bool, typer.Option("--container", help="Build in a container on this machine.")] = False,
    image: Annotated[
        str | None, typer.Option(help="Image of the container. Default: the one that the target's card names.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write a folder to carry to the device, which builds and times there.")
    ] = None,
    emit: Annotated[str | None, typer.Option(help="Write what another program runs: deepstream or triton.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for what is written. Default: engine, deepstream or triton.")
    ] = None,
    jetpack: common.JetpackOption = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES", help="Images to check the device on. Default: the sample that ships, where it fits."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many of them, evenly spread.")] = 16,
    as_json: common.JsonOption = False,
) -> None:
    """Build, time and check an engine here, in a container or on the device; or write what does so elsewhere."""
    ways = {"--host": host is not None, "--container": container, "--bundle": bundle is not None,
            "--emit": emit is not None}  # fmt: skip
    chosen = [option for option, given in ways.items() if given]
    if len(chosen) > 1:
        raise UsageError("EK001", "only one of them can be done", where=" and ".join(chosen), hint="leave one out")
    if image is not None and not container:
        raise UsageError("EK001", "an image is for a container", where="--image", hint="add --container")
    if bundle is not None and output is not None:
        raise UsageError("EK001", "a bundle has its folder already", where="--output", hint="leave it out")
    if emit is not None:
        _emit(model, target, emit, output, jetpack, as_json)
        return
    from edgekit.pipeline.build import BundleRequest

    folder = bundle or output or Path(ENGINE_FOLDER)
    request = BundleRequest(model, target, folder, jetpack, images, samples)
    if bundle is None:
        _build(request, host, image, container=container, as_json=as_json)
        return
    _write_bundle(request, as_json=as_json)


def _build(request: BundleRequest, host: str | None, image: str | None, *, container: bool, as_json: bool) -> None:
    """Build an engine, and say what came of it."""
    from edgekit.pipeline.engine_build import Here, InContainer, OnHost, build_engine

    way = OnHost(host) if host is not None else InContainer(image) if container else Here()
    built = build_engine(request, way, lambda line: print(common.printable(line), file=sys.stderr, flush=True))
    engine, device = built.answer.engine, built.answer.device
    if as_json:
        facts = {"output": str(built.folder), "engine": engine.model_dump(), "device": device.model_dump()}
        notes = [dataclasses.asdict(note) for note in built.notes]
        common.print_json({**facts, "plan": dataclasses.asdict(built.plan), "notes": notes})
        return
    console = common.output_console()
    common.print_notes(console, built.notes)
    console.print(
        common.printable(
            f"wrote {built.folder / engine.file}: {engine.size_bytes:,} bytes, {built.plan.precision}, "
            f"TensorRT {device.tensorrt} on {device.model or 'this machine'}, built in {engine.build_seconds} s"
        ),
        soft_wrap=True,
    )
    console.print(
        f"{built.folder}/ has what it was made from, its manifest and result.json; edgekit validate reads the folder.",
        soft_wrap=True,
    )


def _write_bundle(request: BundleRequest, *, as_json: bool) -> None:
    """Write a bundle, and say what comes next."""
    from edgekit.pipeline.build import make_bundle

    made = make_bundle(request)
    if as_json:
        facts = {"bundle": str(made.folder), "files": made.files, "plan": dataclasses.asdict(made.plan)}
        common.print_json({**facts, "notes": [dataclasses.asdict(note) for note in made.notes]})
        return
    console = common.output_console()
    common.print_notes(console, made.notes)
    console.print(
        f"wrote {len(made.files)} files to {made.folder}/: {made.plan.precision} for TensorRT {made.plan.tensorrt}, "
        f"opset {made.plan.opset}",
        soft_wrap=True,
    )
    console.print(
        "Copy the folder to the device and run there `sh run.sh`, which needs trtexec, or `python3 runner.py`, which "
        "needs TensorRT's Python and pycuda. result.json is the answer.",
        soft_wrap=True,
    )


def _emit(model: str | None, target: str, form: str, output: Path | None, jetpack: str | None, as_json: bool) -> None:
    """Write what DeepStream or Triton runs, and say what is in it."""
    from edgekit.pipeline.emitting import EmitRequest, Form, emit

    chosen = common.choice(form, get_args(Form), "--emit")
    made = emit(EmitRequest(model, target, chosen, output or Path(chosen), jetpack))
    if as_json:
        common.print_json({**dataclasses.asdict(made), "folder": str(made.folder)})
        return
    console = common.output_console()
    common.print_notes(console, made.notes)
    console.print(common.printable(f"wrote to {made.folder}/: {', '.join(made.files)}"), soft_wrap=True)
