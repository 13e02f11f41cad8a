"""`edgekit build`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import _common as common
from edgekit.errors import UsageError


def command(
    model: common.ModelArgument = None,
    target: common.EngineTargetOption = "jetson-orin-nano",
    bundle: Annotated[
        Path | None, typer.Option(help="Write a folder to carry to the device, which builds and times there.")
    ] = None,
    jetpack: common.JetpackOption = None,
    images: Annotated[
        Path | None, typer.Option(help="Images to check the device on. Default: the sample that ships, where it fits.")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many of them, evenly spread.")] = 16,
    as_json: common.JsonOption = False,
) -> None:
    """Make a bundle: model, plan, samples and the programs that build, time and check an engine on the device."""
    if bundle is None:
        raise UsageError(
            "EK005",
            "building here, in a container or over ssh is not in this version",
            where="edgekit build",
            hint="write a bundle with --bundle DIR, carry it to the device and run `sh run.sh` there",
        )
    from edgekit.pipeline.build import BundleRequest, make_bundle

    made = make_bundle(BundleRequest(model, target, bundle, jetpack, images, samples))
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
