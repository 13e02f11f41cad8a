"""`edgekit export`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, get_args

import typer

from edgekit.cli import _common as common
from edgekit.spec import CalibrationMethod, Effort, Quantization


def command(
    context: typer.Context,
    model: common.ModelArgument = None,
    quantize: Annotated[
        str, typer.Option(help="none, dynamic (linear layers only), static, or qat (trains after static).")
    ] = "static",
    target: Annotated[
        str,
        typer.Option(help="Where it will run: a name of edgekit targets, or a card of your own (.toml)."),
    ] = "cpu",
    jetpack: Annotated[
        str | None, typer.Option(help="JetPack of a Jetson target, TensorRT of x86-gpu. Default: its newest.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when the target cannot do what was asked.")] = False,
    opset: Annotated[
        int | None, typer.Option(help="ONNX opset, 13 to 21. Default: 17, or an .onnx file's own.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES",
            help="Images that set the int8 ranges, without labels: a folder, .zip, .npz, .tar, tar shards or a URL.",
        ),
    ] = None,
    calibration_samples: Annotated[int, typer.Option(help="How many of them, evenly spread.")] = 128,
    calibration_method: Annotated[str, typer.Option(help="auto, minmax, percentile, entropy or mse.")] = "auto",
    effort: Annotated[
        str, typer.Option(help="fast (plain calibration), balanced (climbs the accuracy ladder) or best.")
    ] = "balanced",
    max_drop: Annotated[
        float | None,
        typer.Option(help="Stop climbing when at most this many points of the images change their answer."),
    ] = None,
    mixed: Annotated[
        bool, typer.Option(help="Leave layers in float where int8 is measured to be slower, or to cost too much.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what the ladder draws at random.")] = 0,
    training: Annotated[
        str | None,
        typer.Option(
            "--train", metavar="IMAGES", help="qat: images to train on, labels are not needed. Default: calibration."
        ),
    ] = None,
    qat_steps: Annotated[int, typer.Option(help="qat: batches of 32 to train on.")] = 300,
    qat_learning_rate: Annotated[
        float, typer.Option(help="qat: what a weight moves a step, in steps of its grid.")
    ] = 0.02,
    qat_label_weight: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="qat: share of the labels; the rest is learned from FP32.")
    ] = 0.0,
    learned_scales: Annotated[
        bool, typer.Option("--learned-scales", help="qat: train the scales of activations too.")
    ] = False,
    weight_bits: Annotated[int, typer.Option(help="Bits of a weight; below 8 a stress test, stored as int8.")] = 8,
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--eval", metavar="IMAGES", help="Labelled images to measure accuracy on. Calibration images are left out."
        ),
    ] = None,
    evaluation_samples: Annotated[
        int | None, typer.Option("--eval-samples", help="How many of them, evenly spread. Default: all.")
    ] = None,
    dynamic_operators: Annotated[
        str, typer.Option(help="What --quantize dynamic quantizes: linear layers, MatMul and Gemm.")
    ] = "MatMul,Gemm",
    output: Annotated[Path, typer.Option(help="Folder for the models and the report.")] = Path("edgekit-out"),
    threads: Annotated[int, typer.Option(min=0, help="Threads that a timed frame may use; 0 takes all cores.")] = 0,
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
    ray: common.RayOption = False,
    ray_address: common.RayAddressOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Export a MobileNet to ONNX, quantize it to int8, and measure what that cost against FP32."""
    quantization = common.choice(quantize, get_args(Quantization), "--quantize")
    method = common.choice(calibration_method, get_args(CalibrationMethod), "--calibration-method")
    chosen_effort = common.choice(effort, get_args(Effort), "--effort")
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
    from edgekit.pipeline.export import export_model
    from edgekit.pipeline.job import OUTPUTS, ExportRequest
    from edgekit.quantize import Awareness

    request = ExportRequest(
        model=model, output=output, quantize=quantization, overrides=overrides, target=target, jetpack=jetpack,
        opset=opset,
        calibration=calibration, calibration_samples=calibration_samples, calibration_method=method,
        effort=chosen_effort, max_drop=max_drop, mixed=mixed, seed=seed,
        training=training, weight_bits=weight_bits,
        awareness=Awareness(qat_steps, qat_learning_rate, qat_label_weight, learned_scales),
        evaluation=evaluation, evaluation_samples=evaluation_samples,
        dynamic_operators=tuple(dynamic_operators.split(",")), threads=threads,
        command=shlex.join(["edgekit", *(context.obj or ())]),
    )  # fmt: skip
    with common.workers(ray, ray_address) as workers, common.progress() as progress:
        report = export_model(request, progress=progress, workers=workers)
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=2))
    else:
        from edgekit.report import render

        render(report, common.output_console())
        written = [name for name in OUTPUTS if (output / name).exists()]
        common.output_console().print(f"wrote {', '.join(written)} in {output}/", soft_wrap=True)
    if strict and report.plan is not None and report.plan.changes:
        raise typer.Exit(common.CHECK_FAILED)
