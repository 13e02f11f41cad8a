"""`edgekit export`, the main job: MODEL in; FP32 ONNX, int8 ONNX and a report of what int8 cost out."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgekit.data import sample
from edgekit.errors import UsageError
from edgekit.export import Verification, verify
from edgekit.files import check_folder, refusing_write_errors, write_bytes
from edgekit.pipeline import reporting
from edgekit.pipeline.cluster import Workers, evaluate_shards
from edgekit.pipeline.images import Images, choose_images
from edgekit.pipeline.job import (
    FP32_FILE,
    INT8_FILE,
    OUTPUTS,
    PREPROCESSING_FILE,
    REPORT_FILE,
    ExportRequest,
)
from edgekit.pipeline.measuring import StartProgress, first_images, measure, silent
from edgekit.pipeline.quantizing import quantize
from edgekit.pipeline.sources import Source, open_source
from edgekit.pipeline.targeting import choose_target
from edgekit.report import Report, write
from edgekit.validate import runner, session

VERIFIED_IMAGES = 8


def export_model(request: ExportRequest, *, progress: StartProgress = silent, workers: Workers | None = None) -> Report:
    """Export a model, quantize it as asked, and measure what that cost.

    Writes `model.fp32.onnx`, `model.int8.onnx` (unless `quantize` is `none`), `preprocessing.json` and `report.json`
    into `request.output`, all of them or, after an error, none: files of an earlier run are then as they were.

    Args:
        request: What to do.
        progress: Starts a progress bar.
        workers: Who calibrates and evaluates by shards; None does it here. The files are the same.

    Raises:
        EdgekitError: Every kind; nothing is written then.
    """
    _check(request)
    with _output_folder(request.output):
        return _export(request, progress, workers)


def _export(request: ExportRequest, progress: StartProgress, workers: Workers | None) -> Report:
    target = choose_target(request.target, request.quantize, request.opset, request.jetpack)
    source = open_source(request.model, request.overrides, target.opset)
    plan = target.plan(source.model)
    images = choose_images(
        source,
        calibrates=request.quantize in ("static", "qat"),
        calibration=request.calibration,
        calibration_samples=request.calibration_samples,
        evaluation=request.evaluation,
        evaluation_samples=request.evaluation_samples,
    )
    verification = _verify(source, images)
    with _staged(request.output) as folder:
        quantized = quantize(request, plan.flavour if plan else target.name, source, images, folder, progress, workers)
        write_bytes(folder / FP32_FILE, source.model.SerializeToString(deterministic=True))
        if quantized is not None:
            write_bytes(folder / INT8_FILE, quantized.model.SerializeToString(deterministic=True))
        write_bytes(folder / PREPROCESSING_FILE, (source.preprocessing.to_json() + "\n").encode())
        fp32 = runner(session(folder / FP32_FILE, threads=request.threads))
        int8 = runner(session(folder / INT8_FILE, threads=request.threads)) if quantized else None
        evaluated = None
        if workers is not None and quantized is not None:
            blobs = (folder / FP32_FILE).read_bytes(), (folder / INT8_FILE).read_bytes()
            evaluated = functools.partial(evaluate_shards, workers, *blobs)
        measured = measure(fp32, int8, images.evaluation, source.preprocessing, progress, evaluated)
        report = reporting.build(request, source, plan, images, quantized, verification, measured, folder)
        write(report, folder / REPORT_FILE)
    return report


def _check(request: ExportRequest) -> None:
    """Refuse what can be refused before any work."""
    if not 2 <= request.weight_bits <= 8:
        raise UsageError(
            "EK001", f"weights of {request.weight_bits} bits", where="--weight-bits", hint="take 2 to 8; 8 is int8"
        )
    for option, value in (
        ("--calibration-samples", request.calibration_samples),
        ("--eval-samples", request.evaluation_samples),
        ("--qat-steps", request.awareness.steps),
    ):
        if value is not None and value < 1:
            raise UsageError("EK001", f"the number is {value}", where=option, hint="take 1 or more")
    if request.max_drop is not None and not 0 <= request.max_drop <= 100:
        raise UsageError(
            "EK001", f"{request.max_drop} is no percentage", where="--max-drop", hint="take 0 to 100, such as 0.5"
        )


def _verify(source: Source, images: Images) -> Verification | None:
    """Compare the exported model with torch on real images; None for an `.onnx` file, which has no torch side."""
    if source.module is None:
        return None
    chosen = images.evaluation or images.calibration or sample().evaluation
    return verify(source.module, source.model, first_images(chosen, source.preprocessing, VERIFIED_IMAGES))


@contextlib.contextmanager
def _output_folder(output: Path) -> Iterator[None]:
    """Make the folder, prove that the outputs can be written, and leave no trace of it after an error."""
    new = not output.exists()
    check_folder(output)
    for name in OUTPUTS:
        if (output / name).is_dir():
            raise UsageError(
                "EK003",
                "cannot write: a folder of this name is in the way",
                where=str(output / name),
                hint="remove it, or choose another folder with --output",
            )
    try:
        yield
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                output.rmdir()
        raise


@contextlib.contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a folder beside the outputs; what is in it moves to `output` at the end, or goes with it on an error."""
    with contextlib.ExitStack() as stack:
        with refusing_write_errors(output):
            staging = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".edgekit-", dir=output)))
        yield staging
        with refusing_write_errors(output):
            # A file of an earlier run must not stand beside a report that does not speak of it.
            for name in OUTPUTS:
                (output / name).unlink(missing_ok=True)
            for file in sorted(staging.iterdir()):
                file.replace(output / file.name)
