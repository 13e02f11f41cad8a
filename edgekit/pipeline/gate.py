"""`edgekit gate`: a candidate against a baseline model, or against the committed answers of one."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import edgekit
from edgekit.data import ImageSet, batches
from edgekit.errors import ComparisonError
from edgekit.files import read_at_most, write_json
from edgekit.models import NO_OVERRIDES, Overrides
from edgekit.pipeline.html_report import write_html
from edgekit.pipeline.images import evaluation_images
from edgekit.pipeline.measuring import BATCH, StartProgress, silent
from edgekit.pipeline.sources import Source
from edgekit.pipeline.validate import ValidateRequest, diagnosis, identity_of, open_model, require_same, validate_models
from edgekit.results import (
    Comparison,
    GateResult,
)
from edgekit.spec import Interval, Preprocessing
from edgekit.validate import evaluate, runner, session
from edgekit.validate.gate import (
    BASELINE_SCHEMA,
    DEFAULT_LIMITS,
    Answers,
    Baseline,
    BaselineImages,
    BaselineModel,
    BaselineSpeed,
    Evidence,
    Limits,
    damaged,
    evidence_against,
    judge,
    judge_evidence,
    labels_sha256,
    pack_answers,
    pack_correct,
    parse_baseline,
    ratio_of_p99,
    require_same_classes,
    require_same_images,
    worst,
)

BASELINE_FILE: Final = "edgekit-baseline.json"
# Checks whose failure has a cause in the layers.
LOSSES: Final = ("max_drop", "min_agreement")
_LARGEST_BASELINE: Final = 64 << 20  # a million images take about 3 MB


@dataclasses.dataclass(frozen=True)
class GateRequest:
    """Which model to judge, beside what, by which limits.

    Attributes:
        candidate: Checkpoint, `.onnx` file or architecture name.
        baseline: The same, of what it is compared with; None takes `committed`.
        committed: The committed baseline.
        limits: What is allowed.
        overrides: What the user says about checkpoints, and the preprocessing of both.
        evaluation: Images; None takes the sample that ships where its classes fit.
        evaluation_samples: How many of them; None takes all.
        threads: Threads that a timed frame may use; 0 takes all cores.
        command: The command line.
        diagnose: Whether to look for where the loss comes from when there is too much of it.
        html: Page to write of a comparison with a baseline model; None writes none.
    """

    candidate: str
    baseline: str | None = None
    committed: Path = Path(BASELINE_FILE)
    limits: Limits = DEFAULT_LIMITS
    overrides: Overrides = NO_OVERRIDES
    evaluation: Path | str | None = None
    evaluation_samples: int | None = None
    threads: int = 0
    command: str = ""
    diagnose: bool = True
    html: Path | None = None


@dataclasses.dataclass(frozen=True)
class GateOutcome:
    """The verdict, and all that was measured; no comparison where the baseline is a committed one."""

    result: GateResult
    comparison: Comparison | None


def gate_models(request: GateRequest, *, progress: StartProgress = silent) -> GateOutcome:
    """Judge a candidate.

    Raises:
        ComparisonError: EK601 when the two cannot be compared, EK630 to EK634 when the committed baseline cannot be
            used, EK635 when a limit asks for what was not measured.
        EdgekitError: as opening models and images does.
    """
    if request.baseline is None:
        return GateOutcome(_judge_against_committed(request, progress), None)
    comparison = _compare(request, timed=request.limits.timed, progress=progress)
    result = judge(comparison, request.limits)
    lost = any(check.name in LOSSES and check.outcome == "fail" for check in result.checks)
    if lost and request.diagnose:
        comparison = _explained(request, comparison, progress)
    comparison = dataclasses.replace(comparison, gate=result)
    if request.html is not None:
        write_html(comparison, _images(request), request.html)
    return GateOutcome(result, comparison)


def update_baseline(request: GateRequest, *, progress: StartProgress = silent) -> Baseline:
    """Record what the candidate answers as the committed baseline; with a baseline model, also how fast it is beside.

    Raises:
        EdgekitError: as opening models and images does; EK003 when the file cannot be written.
    """
    answered = _answer(request, progress)
    source, images, answers = answered.source, answered.images, answered.answers
    compared = None if request.baseline is None else _compare(request, timed=True, progress=progress)
    baseline = Baseline(
        schema=BASELINE_SCHEMA,
        edgekit=edgekit.__version__,
        model=BaselineModel(
            name=source.name,
            sha256=answers.sha256,
            size_bytes=answers.size_bytes,
            num_classes=source.num_classes,
            preprocessing=source.preprocessing.to_json(),
        ),
        images=BaselineImages(
            name=images.name,
            sha256=images.sha256(),
            labels_sha256=labels_sha256(images.labels),
            count=len(answers.classes),
        ),
        top1=None if answers.correct is None else 100.0 * float(answers.correct.mean()),
        logits_sha256=answers.logits_sha256,
        answers=pack_answers(answers.classes),
        correct=None if answers.correct is None else pack_correct(answers.correct),
        speed=None if compared is None else _speed(compared),
    )
    write_json(request.committed, baseline.model_dump(mode="json", by_alias=True))
    return baseline


def read_baseline(path: Path) -> Baseline:
    """Read a committed baseline.

    Raises:
        ComparisonError: EK630 when there is none, EK631 when it is damaged, EK632 when a newer edgekit wrote it.
    """
    try:
        content = read_at_most(path, _LARGEST_BASELINE)
    except OSError as error:
        raise ComparisonError(
            "EK630",
            f"there is no committed baseline ({error.strerror or error})",
            where=str(path),
            hint="make one with edgekit gate --update MODEL, or give BASELINE before CANDIDATE",
        ) from error
    if content is None:
        raise damaged(f"it is larger than {_LARGEST_BASELINE >> 20} MiB", str(path))
    try:
        return parse_baseline(json.loads(content), where=str(path))
    except (ValueError, RecursionError) as error:
        raise damaged("it is not JSON", str(path)) from error


def _judge_against_committed(request: GateRequest, progress: StartProgress) -> GateResult:
    baseline = read_baseline(request.committed)
    answered = _answer(request, progress, beside=baseline)
    images, answers = answered.images, answered.answers
    require_same_images(
        baseline,
        name=images.name,
        sha256=images.sha256(),
        labels=labels_sha256(images.labels),
        count=len(answers.classes),
    )
    evidence = evidence_against(baseline, answers)
    checks = judge_evidence(evidence, request.limits)
    return GateResult(
        baseline=f"{baseline.model.name} (committed in {request.committed})",
        candidate=request.candidate,
        outcome=worst(check.outcome for check in checks),
        checks=checks,
        images=f"{evidence.images:,} images of {images.name}",
        notes=(*(note.text for note in answered.source.notes), *_notes(baseline, answers, evidence)),
    )


def _notes(baseline: Baseline, candidate: Answers, evidence: Evidence) -> Iterator[str]:
    if baseline.model.sha256 == candidate.sha256 and not evidence.identical:
        others = evidence.images - evidence.agreeing
        yield (
            f"this is the file that was recorded, yet it answers {others} images otherwise here: int8 and float depend "
            "on the CPU and the version of the runtime"
        )
    if (speed := baseline.speed) is not None:
        ratio = "{:.3g}x [{:.3g}, {:.3g}]".format(*speed.speedup)
        yield (
            f"when it was recorded, the baseline was {ratio} as fast as {speed.reference}, with {speed.threads} "
            f"threads on {speed.cpu} in {speed.runtime}"
        )


@dataclasses.dataclass(frozen=True)
class _Answered:
    """A model, the images that it answered, and its answers."""

    source: Source
    images: ImageSet
    answers: Answers


def _answer(request: GateRequest, progress: StartProgress, beside: Baseline | None = None) -> _Answered:
    """Run the candidate alone; what would make it useless beside a baseline is found out before."""
    source = open_model(request.candidate, request.overrides)
    if beside is not None:
        require_same_classes(beside, source.num_classes, where=request.candidate)
        its = Preprocessing.from_json(beside.model.preprocessing, where=str(request.committed))
        require_same("preprocessing", its, source.preprocessing, f"{request.committed} and {request.candidate}")
    images = evaluation_images(source, request.evaluation, request.evaluation_samples)
    blob = source.model.SerializeToString(deterministic=True)
    model = runner(session(blob, threads=request.threads))
    classes: list[NDArray[np.int64]] = []
    digest = hashlib.sha256()

    def remembering(pixels: NDArray[np.float32]) -> NDArray[Any]:
        logits = model(pixels)
        classes.append(logits.argmax(axis=1))
        digest.update(logits.astype("<f4").tobytes())
        return logits

    advance = progress("evaluating", len(images))
    with contextlib.closing(batches(images, source.preprocessing, BATCH)) as stream:
        correct = evaluate(remembering, stream, progress=advance).top1
    answers = Answers(
        *identity_of(request.candidate, source, blob), digest.hexdigest(), np.concatenate(classes), correct
    )
    return _Answered(source, images, answers)


def _speed(comparison: Comparison) -> BaselineSpeed:
    latency, samples = comparison.latency, comparison.samples
    assert latency is not None
    return BaselineSpeed(
        reference=comparison.baseline.name,
        reference_sha256=comparison.baseline.sha256,
        speedup=_three(latency.speedup),
        p99_ratio=None if samples is None else _three(ratio_of_p99(samples)),
        cpu=comparison.machine.cpu,
        threads=latency.threads,
        runtime=latency.runtime,
    )


def _three(ratio: Interval) -> tuple[float, float, float]:
    return ratio.value, ratio.low, ratio.high


def _compare(request: GateRequest, *, timed: bool, progress: StartProgress) -> Comparison:
    """Compare the candidate with the baseline model."""
    assert request.baseline is not None
    return validate_models(
        ValidateRequest(
            request.baseline, request.candidate, request.overrides, request.evaluation, request.evaluation_samples,
            request.limits.max_drop, request.threads, timing=timed, command=request.command,
        ),
        progress=progress,
    )  # fmt: skip


def _explained(request: GateRequest, comparison: Comparison, progress: StartProgress) -> Comparison:
    """Add where the loss comes from; a candidate that is not quantized loses for reasons that are not looked for."""
    assert request.baseline is not None
    first, second = (open_model(model, request.overrides) for model in (request.baseline, request.candidate))
    try:
        found = diagnosis(first, second, _images(request), progress)
    except ComparisonError as error:
        if error.code != "EK620":
            raise
        return dataclasses.replace(comparison, notes=(*comparison.notes, f"no cause was looked for: {error.what}"))
    return dataclasses.replace(comparison, diagnosis=found)


def _images(request: GateRequest) -> ImageSet:
    source = open_model(request.candidate, request.overrides)
    return evaluation_images(source, request.evaluation, request.evaluation_samples)
