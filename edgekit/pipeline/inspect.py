"""`edgekit inspect`: what a finished ONNX file really runs, how far each layer drifted, and what is wrong with it."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.data import ImageSet, batches, open_images
from edgekit.errors import ComparisonError, EdgekitError
from edgekit.export import load_onnx, opset_of
from edgekit.files import write_bytes
from edgekit.models import NO_OVERRIDES, Overrides
from edgekit.pipeline.images import sample_serves, shipped_evaluation
from edgekit.pipeline.measuring import BATCH, StartProgress, silent
from edgekit.pipeline.sources import Source, describe_onnx
from edgekit.quantize import (
    RuntimeOperator,
    comparable_tensors,
    float_compute,
    layers_as_run,
    runtime_operators,
)
from edgekit.quantize.lint import Finding, lint, mend
from edgekit.spec import EQUALIZED_KEY, PREPROCESSING_KEY, Note, Precision
from edgekit.targets import load_card
from edgekit.targets import names as card_names
from edgekit.validate import session, tensor_sqnr

if TYPE_CHECKING:
    import onnx

BASELINE_NAME = "model.fp32.onnx"
IMAGES = 16
# Targets of an export that have the rules of another one.
LINT_TARGETS = {"tensorrt8": "tensorrt", "openvino": "cpu"}


@dataclasses.dataclass(frozen=True)
class InspectedLayer:
    """One computing node of a file.

    Attributes:
        node: Its name, or that of its first output where it has none.
        op_type: Operator in the file.
        runs_as: Operator that onnxruntime runs for it; empty when that cannot be told.
        precision: What that computes in; None when it cannot be told.
        reason: Why.
        sqnr_db: Signal to noise of its output, behind its activation, against FP32; None when it was not measured.
    """

    node: str
    op_type: str
    runs_as: str
    precision: Precision | None
    reason: str
    sqnr_db: float | None


@dataclasses.dataclass(frozen=True)
class Fixed:
    """What `--fix` wrote.

    Attributes:
        path: The file.
        changes: What was changed, one note a rule; its source is the rule's id.
        remaining: What lint still finds in it.
    """

    path: str
    changes: tuple[Note, ...]
    remaining: tuple[Finding, ...]


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found in an ONNX file.

    Attributes:
        path: The file.
        opset: Opset of the default domain.
        metadata: The file's metadata_props.
        layers: Its computing nodes, in graph order.
        runtime: The nodes that onnxruntime runs here, after its own optimization.
        float_compute: Convolutions and linear layers among them that run in float.
        target: What the file was linted for.
        findings: What lint found.
        baseline: The FP32 file that layers were compared with, and `images` what on; None when they were not.
        images: See `baseline`.
        fixed: What was mended; None when that was not asked for.
        notes: What was assumed or could not be done.
    """

    path: str
    opset: int
    metadata: dict[str, str]
    layers: tuple[InspectedLayer, ...]
    runtime: tuple[RuntimeOperator, ...]
    float_compute: tuple[str, ...]
    target: str
    findings: tuple[Finding, ...]
    baseline: str | None
    images: str | None
    fixed: Fixed | None
    notes: tuple[Note, ...]


def inspect_model(
    path: Path,
    *,
    baseline: Path | None = None,
    images: Path | str | None = None,
    target: str = "cpu",
    fix: Path | None = None,
    overrides: Overrides = NO_OVERRIDES,
    progress: StartProgress = silent,
) -> Inspection:
    """Read an ONNX file, let onnxruntime optimize it, compare its layers with FP32 and lint it.

    Args:
        path: The file, of any tool.
        baseline: The FP32 model it was made from; None takes `model.fp32.onnx` beside it, where that is.
        images: Images to compare on; None takes some of the sample that ships, where its classes fit.
        target: What the file is to run on: a name of `edgekit targets`, or one of `edgekit.quantize.lint.TARGETS`.
        fix: Where to write the file with its faults mended; None writes nothing.
        overrides: Preprocessing, where the files do not say.
        progress: Shows how far it is.

    Raises:
        ModelError: EK1xx when a file cannot be used.
        UsageError: EK002 when the target is not known, EK003 when `fix` cannot be written.
        DataError: EK2xx when the images cannot be used.
        ComparisonError: EK601 when the baseline is another model.
    """
    model = load_onnx(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    target = _lint_target(target)
    findings = lint(model, target)
    runtime = runtime_operators(path)
    runs = layers_as_run(model, runtime)
    fixed = None if fix is None else _write_fixed(model, target, fix)
    drift = _Drift({}, None, None)
    notes: tuple[Note, ...] = ()
    reference = baseline or _beside(path)
    if reference is not None:
        try:
            drift, notes = _drift(path, model, reference, images, overrides, progress)
        except EdgekitError as error:
            if baseline is not None or images is not None:
                raise
            notes = (Note("sqnr", f"layers were not compared with {reference}: {error.what}"),)
    return Inspection(
        path=str(path),
        opset=opset_of(model),
        metadata=metadata,
        layers=tuple(
            InspectedLayer(run.node, run.op_type, run.runs_as, run.precision, run.reason, drift.sqnr.get(run.node))
            for run in runs
        ),
        runtime=runtime,
        float_compute=float_compute(runtime),
        target=target,
        findings=findings,
        baseline=drift.baseline,
        images=drift.images,
        fixed=fixed,
        notes=notes,
    )


@dataclasses.dataclass(frozen=True)
class _Drift:
    sqnr: dict[str, float]
    baseline: str | None
    images: str | None


def _lint_target(name: str) -> str:
    """Return the target of lint that a card or a Q/DQ flavour belongs to; lint itself refuses other names."""
    if name in card_names() and load_card(name).is_gpu:
        return "tensorrt"
    return LINT_TARGETS.get(name, name)


def _is_equalized(model: onnx.ModelProto) -> bool:
    return any(entry.key == EQUALIZED_KEY for entry in model.metadata_props)


def _write_fixed(model: onnx.ModelProto, target: str, path: Path) -> Fixed:
    mended, changes = mend(model, target)
    content = mended.SerializeToString()
    session(content, threads=1)  # What onnxruntime cannot open is not written.
    write_bytes(path, content)
    return Fixed(str(path), changes, lint(mended, target))


def _beside(path: Path) -> Path | None:
    candidate = path.parent / BASELINE_NAME
    return candidate if candidate.is_file() and candidate.resolve() != path.resolve() else None


def _drift(
    path: Path,
    model: onnx.ModelProto,
    reference: Path,
    images: Path | str | None,
    overrides: Overrides,
    progress: StartProgress,
) -> tuple[_Drift, tuple[Note, ...]]:
    baseline = load_onnx(reference)
    described = {entry.key for entry in model.metadata_props}
    pairs = comparable_tensors(model, baseline)
    candidate_source = describe_onnx(model, path, overrides)
    baseline_source = describe_onnx(baseline, reference, overrides)
    # The file that an edgekit wrote says how its images are prepared; of two strangers the file itself is asked.
    source = candidate_source if PREPROCESSING_KEY in described else baseline_source
    _require_same_task(candidate_source, baseline_source)
    if not pairs:
        text = f"layers were not compared: no tensor of {reference} has the name of one in the file"
        return _Drift({}, None, None), (Note("sqnr", text),)
    chosen = _images(images, source)
    if chosen is None:
        text = "layers were not compared with FP32: the sample that ships has other classes; give --images"
        return _Drift({}, None, None), (Note("sqnr", text),)
    advance = progress("comparing layers", len(chosen))
    with contextlib.closing(batches(chosen, source.preprocessing, BATCH)) as stream:
        ratios = tensor_sqnr(
            baseline, model, tuple(pairs.values()), stream, fit_gains=_is_equalized(model), progress=advance
        )
    sqnr = dict(zip(pairs, ratios, strict=True))
    return _Drift(sqnr, str(reference), f"{len(chosen)} images of {chosen.name}"), source.notes


def _images(path: Path | str | None, source: Source) -> ImageSet | None:
    if path is not None:
        return open_images(path).spread(IMAGES)
    return shipped_evaluation(source).spread(IMAGES) if sample_serves(source) else None


def _require_same_task(candidate: Source, baseline: Source) -> None:
    sizes = tuple(source.preprocessing.input_size for source in (baseline, candidate))
    if sizes[0] != sizes[1] or baseline.num_classes != candidate.num_classes:
        raise ComparisonError(
            "EK601",
            f"the models take images of {sizes[0]} and {sizes[1]} pixels "
            f"and know {baseline.num_classes} and {candidate.num_classes} classes",
            where=f"{baseline.name} and {candidate.name}",
            hint="give the FP32 model that the file was made from with --baseline",
        )
