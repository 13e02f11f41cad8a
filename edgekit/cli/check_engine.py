"""`edgekit check-engine`."""

from __future__ import annotations

import dataclasses

import typer

from edgekit.cli import _common as common


def command(
    model: common.ModelArgument = None,
    target: common.EngineTargetOption = "jetson-orin-nano",
    jetpack: common.JetpackOption = None,
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
        common.print_notes(console, checked.notes)
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
        raise typer.Exit(common.CHECK_FAILED)
