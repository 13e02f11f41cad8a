"""`edgekit validate`: drift and time per frame of any two models."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import onnx
from onnx.external_data_helper import uses_external_data

import edgekit
from edgekit.data import Batch, ImageSet, batches, require_labels
from edgekit.errors import ComparisonError, UsageError
from edgekit.export import load_onnx
from edgekit.files import check_folder
from edgekit.models import NO_OVERRIDES, Overrides
from edgekit.pipeline.cluster import Workers, evaluate_shards
from edgekit.pipeline.html_report import write_html
from edgekit.pipeline.images import evaluation_images
from edgekit.pipeline.measuring import BATCH, StartProgress, evaluate_both, first_images, silent
from edgekit.pipeline.sources import Source, describe_onnx, is_onnx, open_source
from edgekit.report import write_comparison
from edgekit.results import COMPARISON_SCHEMA, Accuracy, ComparedModel, Comparison, Diagnosis
from edgekit.validate import (
    Runner,
    TimedPair,
    drift,
    drift_detail,
    require_plausible,
    runner,
    session,
    time_pair,
    verdict,
    watching_machine,
)
from edgekit.validate.findings import PASSES, diagnose

COMPARISON_FILE: Final = "comparison.json"
# A hundredth of a point is one image in ten thousand.
SMALLEST_NEED_PP: Final = 0.01
# Enough for means over thousands of values a layer; each layer that matters is restored on every one of them.
DIAGNOSED_IMAGES: Final = 32


@dataclasses.dataclass(frozen=True)
class ValidateRequest:
    """Which two models to compare, on what.

    Attributes:
        baseline: Checkpoint, `.onnx` file or architecture name.
        candidate: The same, of the model under test.
        overrides: What the user says about checkpoints, and the preprocessing of both.
        evaluation: Labelled images; None takes the sample that ships where its classes fit.
        evaluation_samples: How many of them; None takes all.
        max_drop: Largest drop allowed, in points; None allows any.
        threads: Threads that a timed frame may use; 0 takes all cores.
        timing: Whether to time the two.
        diagnose: Whether to look for where the loss comes from.
        html: Page to write; None writes none.
        output: Folder for `comparison.json`; None writes none.
        command: The command line, for the reports.
        need: A drop in points, of which to say how many images show it; None says nothing.
    """

    baseline: str
    candidate: str
    overrides: Overrides = NO_OVERRIDES
    evaluation: Path | str | None = None
    evaluation_samples: int | None = None
    max_drop: float | None = None
    threads: int = 0
    timing: bool = True
    diagnose: bool = False
    html: Path | None = None
    output: Path | None = None
    command: str = ""
    need: float | None = None


def validate_models(
    request: ValidateRequest, *, progress: StartProgress = silent, workers: Workers | None = None
) -> Comparison:
    """Compare a candidate with a baseline; a checkpoint runs as the FP32 ONNX that it exports to.

    Args:
        request: What to compare, on what.
        progress: Starts a progress bar.
        workers: Who evaluates by shards; None evaluates here.

    Raises:
        ComparisonError: EK601 when the two take different inputs or know different classes, EK602 to EK605 when what
            they compute or the labels allow no verdict.
        DataError: EK204 when `need` is given and the images have no labels.
        EdgekitError: As opening models and images does; EK003 when an output cannot be written.
    """
    _check(request)
    first, second = (open_model(model, request.overrides) for model in (request.baseline, request.candidate))
    _require_same_task(first, second)
    images = evaluation_images(first, request.evaluation, request.evaluation_samples)
    if request.need is not None:
        require_labels(images)
    blobs = [source.model.SerializeToString(deterministic=True) for source in (first, second)]
    baseline, candidate = (runner(session(blob, threads=request.threads)) for blob in blobs)
    class_names = first.class_names or second.class_names or images.class_names
    if workers is None:
        both = evaluate_both(baseline, candidate, images, first.preprocessing, progress)
    else:
        both = evaluate_shards(workers, blobs[0], blobs[1], images, first.preprocessing, progress)
    require_plausible(both.pair, class_names)
    moved = drift(both.pair)
    with watching_machine() as machine:
        timed = _time(baseline, candidate, blobs[0], both.images, first, progress) if request.timing else None
    comparison = Comparison(
        schema=COMPARISON_SCHEMA,
        edgekit=edgekit.__version__,
        command=request.command,
        baseline=_compared(request.baseline, first, blobs[0], both.pair.baseline.accuracy),
        candidate=_compared(request.candidate, second, blobs[1], both.pair.candidate.accuracy),
        images=images.name,
        images_sha256=both.images.sha256(),
        class_names=class_names,
        broken=len(images) - len(both.images),
        drift=moved,
        detail=drift_detail(both.pair, both.images.identifiers, class_names, request.max_drop, need=request.need),
        latency=None if timed is None else timed.latency,
        samples=None if timed is None else timed.samples,
        noise=None if timed is None else timed.noise,
        machine=machine.state(),
        diagnosis=diagnosis(first, second, both.images, progress) if request.diagnose else None,
        verdict=verdict(moved, max_drop=request.max_drop),
        gate=None,
        notes=_notes(first, second, images, both.images),
    )
    if request.output is not None:
        write_comparison(comparison, request.output / COMPARISON_FILE)
    if request.html is not None:
        write_html(comparison, both.images, request.html)
    return comparison


def diagnosis(first: Source, second: Source, images: ImageSet, progress: StartProgress = silent) -> Diagnosis:
    """Look for where the second model loses what the first has, on some of the images.

    Raises:
        ComparisonError: EK620 when the layers of the two do not match, or the second is not quantized.
    """
    some = images.spread(min(DIAGNOSED_IMAGES, len(images)))

    def stream() -> Iterator[Batch]:
        with contextlib.closing(batches(some, first.preprocessing, BATCH)) as read:
            yield from read

    return diagnose(first.model, second.model, stream, progress=progress("looking for causes", PASSES * len(some)))


def _check(request: ValidateRequest) -> None:
    """Refuse what can be refused before any work."""
    if request.max_drop is not None and not math.isfinite(request.max_drop):
        raise UsageError(
            "EK001", f"{request.max_drop} is not a limit", where="--max-drop", hint="give points, e.g. 0.5"
        )
    if request.need is not None and not SMALLEST_NEED_PP <= request.need <= 100:
        raise UsageError(
            "EK001", f"{request.need} is no drop", where="--need", hint=f"take {SMALLEST_NEED_PP} to 100 points"
        )
    if request.output is not None:
        check_folder(request.output)
    if request.html is not None:
        check_folder(request.html.parent)


def open_model(model: str, overrides: Overrides) -> Source:
    """Open a side of a comparison: a checkpoint as the FP32 ONNX that it exports to, an `.onnx` file as it is."""
    # An .onnx file is compared as it is: cleaning it up would compare another model.
    if is_onnx(model):
        return describe_onnx(load_onnx(Path(model)), Path(model), overrides)
    return open_source(model, overrides, None)


def require_same(what: str, baseline: object, candidate: object, where: str) -> None:
    """Raise ComparisonError EK601 when two sides differ in something that a comparison needs to be the same."""
    if baseline != candidate:
        raise ComparisonError(
            "EK601",
            f"the models differ in {what}: {baseline} and {candidate}",
            where=where,
            hint="compare models of the same task; --mean, --std and --resize set the preprocessing of both",
        )


def _require_same_task(first: Source, second: Source) -> None:
    where = f"{first.name} and {second.name}"
    require_same("classes", first.num_classes, second.num_classes, where)
    require_same("preprocessing", first.preprocessing, second.preprocessing, where)
    if first.class_names and second.class_names and sorted(first.class_names) == sorted(second.class_names):
        # The first class that differs says it; a thousand names do not.
        for index, (one, other) in enumerate(zip(first.class_names, second.class_names, strict=True)):
            require_same(f"the order of their classes, at class {index}", one, other, where)


def identity_of(model: str, source: Source, blob: bytes) -> tuple[str, int]:
    """Return SHA-256 and bytes of a model: of the file itself, as other tools see it, else of what ran."""
    if is_onnx(model) and _holds_its_weights(Path(model)):
        # What ran has edgekit's metadata in addition.
        return source.sha256, Path(model).stat().st_size
    return hashlib.sha256(blob).hexdigest(), len(blob)


def _compared(model: str, source: Source, blob: bytes, accuracy: Accuracy) -> ComparedModel:
    return ComparedModel(source.name, *identity_of(model, source, blob), accuracy)


def _holds_its_weights(path: Path) -> bool:
    return not any(map(uses_external_data, onnx.load(path, load_external_data=False).graph.initializer))


def _time(
    baseline: Runner, candidate: Runner, blob: bytes, images: ImageSet, source: Source, progress: StartProgress
) -> TimedPair:
    """Time the two in turns, and beside them the baseline once more, which gives the machine's noise."""
    frame = first_images(images, source.preprocessing, 1)
    twin = runner(session(blob, threads=baseline.threads))
    return time_pair(baseline, candidate, frame, twin=twin, progress=progress("timing", None))


def _notes(first: Source, second: Source, images: ImageSet, read: ImageSet) -> tuple[str, ...]:
    notes = list(dict.fromkeys(note.text for note in (*first.notes, *second.notes)))
    if first.class_names and second.class_names and first.class_names != second.class_names:
        notes.append("the two models name their classes differently: class by class they were taken for the same")
    if broken := len(images) - len(read):
        notes.append(f"{broken:,} of {len(images):,} images could not be read and were left out")
    return tuple(notes)
