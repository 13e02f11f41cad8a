"""Puts what the stages found into the form of `report.json`."""

from __future__ import annotations

from pathlib import Path

import edgekit
from edgekit.data import ImageSet
from edgekit.export import Verification, opset_of
from edgekit.files import sha256_of
from edgekit.pipeline.images import Images
from edgekit.pipeline.job import FP32_FILE, INT8_FILE, ExportRequest, Quantized
from edgekit.pipeline.measuring import Measured
from edgekit.pipeline.sources import Source
from edgekit.pipeline.targeting import notes_of
from edgekit.report import (
    SCHEMA,
    DataSection,
    DataSource,
    DriftSection,
    LatencySection,
    ModelFile,
    ModelSection,
    NoteLine,
    PlanSection,
    QuantizationSection,
    Report,
    Specification,
    environment,
)
from edgekit.report import Verification as VerificationSection
from edgekit.results import Accuracy, ModelLatency
from edgekit.spec import Note
from edgekit.targets import BuildPlan


def build(
    request: ExportRequest,
    source: Source,
    plan: BuildPlan | None,
    images: Images,
    quantized: Quantized | None,
    verification: Verification | None,
    measured: Measured,
    folder: Path,
) -> Report:
    """Return the report of an export whose model files lie in `folder`."""
    notes = (
        *notes_of(plan),
        *source.notes,
        *images.notes,
        *(quantized.notes if quantized else ()),
        *_warnings(measured),
    )
    unread = quantized.broken if quantized else ()
    calibrated = [name for name in images.calibration.identifiers if name not in unread] if images.calibration else []
    return Report(
        schema=SCHEMA,
        edgekit=edgekit.__version__,
        command=request.command,
        model=_model(source),
        target=request.target,
        plan=PlanSection.of(plan) if plan and plan.tensorrt else None,
        fp32=_file(folder / FP32_FILE, measured.baseline),
        int8=_file(folder / INT8_FILE, measured.candidate) if quantized else None,
        drift=DriftSection.of(measured.drift) if measured.drift else None,
        latency=LatencySection.of(measured.latency),
        quantization=QuantizationSection.of(
            request.quantize,
            method=request.calibration_method if images.calibration else None,
            calibration_images=calibrated,
            excluded_from_evaluation=images.excluded,
            layers=quantized.layers if quantized else (),
            flavour=quantized.flavour if quantized else None,
            effort=request.effort if request.quantize == "static" else None,
            rungs=quantized.rungs if quantized else (),
        ),
        data=DataSection(
            calibration=_data(images.calibration, len(unread)),
            evaluation=_data(images.evaluation, measured.broken),
        ),
        verification=_verification(verification),
        notes=tuple(NoteLine(source=note.source, text=note.text) for note in notes),
        environment=environment(),
    )


def _warnings(measured: Measured) -> tuple[Note, ...]:
    """Say it when int8 does not pay on this machine: nobody should have to notice it in a table."""
    latency = measured.latency
    if isinstance(latency, ModelLatency) or latency.speedup.low > 1.0:
        return ()
    what = "slower than" if latency.speedup.high < 1.0 else "not measurably faster than"
    return (Note("timing", f"int8 is {what} FP32 on this machine; measure on the device before you choose it"),)


def _model(source: Source) -> ModelSection:
    return ModelSection(
        source=source.name,
        sha256=source.sha256 or None,
        architecture=source.spec.architecture if source.spec else None,
        spec=Specification.of(source.spec) if source.spec else None,
        input_size=source.preprocessing.input_size,
        num_classes=source.num_classes,
        opset=opset_of(source.model),
    )


def _file(path: Path, accuracy: Accuracy | None) -> ModelFile:
    return ModelFile.of(path.name, sha256=sha256_of(path), size_bytes=path.stat().st_size, accuracy=accuracy)


def _data(images: ImageSet | None, broken: int) -> DataSource | None:
    return None if images is None else DataSource(path=images.name, n=len(images) - broken, broken=broken)


def _verification(verification: Verification | None) -> VerificationSection | None:
    if verification is None:
        return None
    return VerificationSection(
        max_abs_difference=verification.max_abs_difference,
        images=verification.images,
        tolerance=verification.tolerance,
    )
