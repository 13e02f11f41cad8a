"""`edgekit check-engine`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from edgekit.cli import _common as common

CHECK_FAILED = 1


def command(
    model: common.ModelArgument = None,
    target: Annotated[str, typer.Option(help="A target with TensorRT, of edgekit targets.")] = "jetson-orin-nano",
    jetpack: Annotated[str | None, typer.Option(help="JetPack of the target. Default: the newest of its card.")] = None,
    as_json: common.JsonOption = False,
) -> None:
    """Lower a model for a target and let NVIDIA's own parser and builder judge it, without a GPU."""
    from edgekit.pipeline.check_engine import check_engine

    checked = check_engine(model, target, jetpack)
    verdict = checked.verdict
    if as_json:
        common.print_json(
            {
                "model": checked.model,
                "plan": dataclasses.asdict(checked.plan),
                "reads": checked.reads,
                "verdict": {**dataclasses.asdict(verdict), "accepted": verdict.accepted},
                "notes": [dataclasses.asdict(note) for note in checked.notes],
            }
        )
    else:
        console = common.output_console()
        for note in checked.notes:
            console.print(common.printable(f"{note.source}: {note.text}"), soft_wrap=True)
        for line in (*verdict.unsupported, *verdict.errors):
            console.print(common.printable(f"refused: {line}"), soft_wrap=True)
        reads = ", ".join(f"{count} read {dtype}" for dtype, count in checked.reads.items())
        word = "accepted" if verdict.accepted else "refused"
        console.print(
            f"{word} by TensorRT-RTX {verdict.version or '(no answer)'} for {target} as {checked.plan.precision}: "
            f"{len(verdict.unsupported)} unsupported nodes" + (f"; of its Conv and Gemm {reads}" if reads else ""),
            soft_wrap=True,
        )
        console.print(
            "This is NVIDIA's ONNX parser and its builder for GeForce GPUs, run without one: it says nothing about "
            "speed, and it is not the TensorRT of a Jetson.",
            soft_wrap=True,
        )
    if not verdict.accepted:
        raise typer.Exit(CHECK_FAILED)
