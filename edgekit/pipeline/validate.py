"""`edgekit validate`: drift and time per frame of any two models."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from edgekit.data import ImageSet, open_images, require_count
from edgekit.errors import ComparisonError, DataError
from edgekit.export import load_onnx
from edgekit.models import NO_OVERRIDES, Overrides
from edgekit.pipeline.cluster import Workers, evaluate_shards
from edgekit.pipeline.images import fitting, sample_serves, shipped_evaluation
from edgekit.pipeline.measuring import Measured, StartProgress, measure, silent
from edgekit.pipeline.sources import Source, describe_onnx, is_onnx, open_source
from edgekit.results import Verdict
from edgekit.spec import Note
from edgekit.validate import Runner, runner, session, verdict


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
    """

    baseline: str
    candidate: str
    overrides: Overrides = NO_OVERRIDES
    evaluation: Path | None = None
    evaluation_samples: int | None = None
    max_drop: float | None = None
    threads: int = 0


@dataclasses.dataclass(frozen=True)
class ValidateOutcome:
    """What the comparison came to; sizes of the ONNX models in bytes."""

    measured: Measured
    verdict: Verdict
    sizes: tuple[int, int]
    images: str
    notes: tuple[Note, ...]


def validate_models(
    request: ValidateRequest, *, progress: StartProgress = silent, workers: Workers | None = None
) -> ValidateOutcome:
    """Compare a candidate with a baseline; a checkpoint runs as the FP32 ONNX that it exports to.

    Args:
        request: What to compare, on what.
        progress: Starts a progress bar.
        workers: Who evaluates by shards; None evaluates here.

    Raises:
        ComparisonError: EK601 when the two take different inputs or know different classes.
        EdgekitError: as opening models and images does.
    """
    first, second = (open_model(model, request.overrides) for model in (request.baseline, request.candidate))
    require_same("classes", first.num_classes, second.num_classes, f"{first.name} and {second.name}")
    require_same("preprocessing", first.preprocessing, second.preprocessing, f"{first.name} and {second.name}")
    images = _images(request, first)
    blobs = [source.model.SerializeToString() for source in (first, second)]
    baseline, candidate = (_runner(blob, request.threads) for blob in blobs)
    pair_of = None if workers is None else functools.partial(evaluate_shards, workers, *blobs)
    measured = measure(baseline, candidate, images, first.preprocessing, progress, pair_of)
    assert measured.drift is not None  # There are images and a candidate.
    decided = verdict(measured.drift, max_drop=request.max_drop)
    sizes = (len(blobs[0]), len(blobs[1]))
    return ValidateOutcome(measured, decided, sizes, images.name, (*first.notes, *second.notes))


def _runner(blob: bytes, threads: int) -> Runner:
    return runner(session(blob, threads=threads))


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


def _images(request: ValidateRequest, source: Source) -> ImageSet:
    if request.evaluation is not None:
        images = fitting(open_images(request.evaluation, class_names=source.class_names), source)
    elif sample_serves(source):
        images = shipped_evaluation(source)
    else:
        raise DataError(
            "EK207",
            "the sample that ships has other classes than the model",
            where=source.name,
            hint="give labelled images with --eval",
        )
    if request.evaluation_samples is not None:
        images = images.spread(request.evaluation_samples)
    return require_count(images, purpose="evaluation")
