"""One candidate made and measured, on one machine, by the same functions as `edgekit prune` and `edgekit export`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from edgekit.data import ImageSet, batches
from edgekit.errors import ComparisonError, ExportError, PruningError, QuantizationError
from edgekit.files import write_bytes, write_json
from edgekit.models import load, profile
from edgekit.pipeline.export import export_model
from edgekit.pipeline.job import CALIBRATION_FILE, FP32_FILE, INT8_FILE, PREPROCESSING_FILE, ExportRequest
from edgekit.pipeline.measuring import BATCH, first_images
from edgekit.pipeline.prune import PruneRequest, channel_multiple_for, prune_model
from edgekit.pipeline.sweep._candidate import Candidate, Measurement
from edgekit.pipeline.sweep._front import Standing
from edgekit.pipeline.sweep._halving import goes_on
from edgekit.pipeline.sweep._pieces import key, piece
from edgekit.pipeline.sweep._settings import SHIPPED, SweepSettings
from edgekit.pruning import Structured
from edgekit.spec import Preprocessing
from edgekit.turns import frame_seconds
from edgekit.validate import evaluate, runner, session

# Pruning and export compare with the original on so many images; the sweep compares on its own.
_PROBED = 16
FACTS_FILE = "facts.json"
CHECKPOINT_FILE = "model.safetensors"
# What a person can use of a candidate.
USEFUL_FILES = (CHECKPOINT_FILE, FP32_FILE, INT8_FILE, PREPROCESSING_FILE)


@dataclasses.dataclass(frozen=True)
class Ground:
    """What all trials of a sweep have in common.

    Attributes:
        settings: What the sweep file says.
        folder: Folder of the pieces that trials share.
        hashes: SHA-256 of each checkpoint.
        images: Hash of the images that prune, calibrate and evaluate.
        parts: Images of each share that the shares before it do not have.
    """

    settings: SweepSettings
    folder: Path
    hashes: dict[str, str]
    images: str
    parts: tuple[ImageSet, ...]

    @property
    def baseline(self) -> Candidate:
        """The first model, whole and in FP32."""
        return Candidate(self.settings.space.model[0])


@dataclasses.dataclass(frozen=True)
class Job:
    """A candidate to try, and how those before it stood on each share; None where it sees all images in any case."""

    candidate: Candidate
    seen: tuple[tuple[Standing, ...], ...] | None = None


def run_trial(ground: Ground, job: Job) -> Measurement:
    """Make a candidate and measure it, on one share of the images after another as long as it is worth it.

    Raises:
        EdgekitError: What concerns all candidates; what concerns this one alone is its `failure`.
    """
    try:
        with _threads(ground.settings.sweep.threads):
            return _measured(ground, job)
    except (PruningError, QuantizationError, ExportError, ComparisonError) as error:
        return Measurement(failure=str(error))


def _measured(ground: Ground, job: Job) -> Measurement:
    settings = ground.settings
    measured = _made(ground, job.candidate, _exported(ground, job.candidate))
    for share in range(len(ground.parts)):
        measured = _evaluated(ground, job.candidate, measured, share)
        if job.seen is None or share == len(ground.parts) - 1:
            continue
        if not goes_on(standing(measured, settings, share), job.seen[share], settings.halving.factor):
            break
    return measured


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch take so many threads meanwhile; 0 leaves it what it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def standing(measured: Measurement, settings: SweepSettings, share: int) -> Standing:
    """Return what a candidate is compared by among those that saw the same share."""
    broken = sum(max(0.0, excess) for excess in measured.excesses(settings, share).values())
    return Standing(measured.losses(settings, share), broken)


def _made(ground: Ground, candidate: Candidate, folder: Path) -> Measurement:
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    time, frame_ms = None, None
    if "time" in ground.settings.quantities:
        frame_ms = _timed(ground, folder, candidate.precision)
        time = frame_ms[0] / frame_ms[1]
    return Measurement(
        time=time, frame_ms=frame_ms, bytes=model_file(folder, candidate.precision).stat().st_size,
        macs=facts["macs"], parameters=facts["parameters"], folder=folder.relative_to(ground.folder).as_posix(),
    )  # fmt: skip


def model_file(folder: Path, precision: str) -> Path:
    """Return the ONNX file of a candidate."""
    return folder / (FP32_FILE if precision == "none" else INT8_FILE)


def _timed(ground: Ground, folder: Path, precision: str) -> tuple[float, float]:
    """Return the milliseconds of one frame, and of one of the baseline, timed in turns."""
    baseline = _exported(ground, ground.baseline)
    pairs = [(folder, model_file(folder, precision)), (baseline, model_file(baseline, "none"))]
    frames = [first_images(ground.parts[0], _preprocessing(place), 1) for place, _ in pairs]
    first, second = frame_seconds([onnx.load(file) for _, file in pairs], frames, threads=ground.settings.sweep.threads)
    return 1000 * first, 1000 * second


def _preprocessing(folder: Path) -> Preprocessing:
    path = folder / PREPROCESSING_FILE
    return Preprocessing.from_json(path.read_text(encoding="utf-8"), where=str(path))


def _evaluated(ground: Ground, candidate: Candidate, measured: Measurement, share: int) -> Measurement:
    """Return a measurement with one more share; only images that the shares before did not have are looked at."""
    baseline = _exported(ground, ground.baseline)
    pairs = [
        (
            _answers(ground, ground.folder / measured.folder, candidate.precision, part),
            _answers(ground, baseline, "none", part),
        )
        for part in range(share + 1)
    ]
    images = sum(len(mine["answers"]) for mine, _ in pairs)
    same = sum(int(np.sum(np.equal(mine["answers"], other["answers"]))) for mine, other in pairs)
    labelled = all(mine["right"] is not None for mine, _ in pairs)
    right = sum(mine["right"] for mine, _ in pairs) if labelled else None
    return dataclasses.replace(
        measured,
        accuracy=(*measured.accuracy, None if right is None else 100 * right / images),
        agreement=(*measured.agreement, 100 * same / images),
        images=(*measured.images, images),
    )


def _answers(ground: Ground, folder: Path, precision: str, part: int) -> dict[str, Any]:
    """Return the class that a model answers for each image of a part, and how many of them are right."""
    name = key(images=ground.images, seed=ground.settings.sweep.seed, parts=list(map(len, ground.parts)), part=part)

    def make(path: Path) -> None:
        run = runner(session(model_file(folder, precision), threads=ground.settings.sweep.threads))
        answers: list[int] = []

        def noting(images: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
            logits = run(images)
            answers.extend(map(int, logits.argmax(axis=1)))
            return logits

        with contextlib.closing(batches(ground.parts[part], _preprocessing(folder), BATCH)) as stream:
            evaluation = evaluate(noting, stream)
        right = None if evaluation.top1 is None else int(evaluation.top1.sum())
        write_json(path, {"answers": answers, "right": right})

    found: dict[str, Any] = json.loads(piece(folder / f"answers-{name}.json", make).read_text(encoding="utf-8"))
    return found


def _exported(ground: Ground, candidate: Candidate) -> Path:
    """Return the folder of a candidate's models; each is made once, and so is its calibration for all methods."""
    checkpoint, name = _pruned(ground, candidate)
    settings = ground.settings
    made_from = {
        **candidate.as_dict(), "model": name, "images": ground.images, "samples": settings.images.calibration_samples,
        "target": settings.sweep.target, "seed": settings.sweep.seed,
    }  # fmt: skip
    folder = ground.folder / "exported" / key(**made_from)
    calibration = ground.folder / "calibrations" / f"{name}.safetensors"

    def make(_: Path) -> None:
        if calibration.exists():
            write_bytes(folder / CALIBRATION_FILE, calibration.read_bytes())
        export_model(_request(settings, candidate, checkpoint, folder))
        if candidate.precision == "static" and not calibration.exists():
            write_bytes(calibration, (folder / CALIBRATION_FILE).read_bytes())
        loaded = load(checkpoint)
        cost = profile(loaded.module, loaded.spec.input_size)
        if checkpoint is not None:
            shutil.copyfile(checkpoint, folder / CHECKPOINT_FILE)
        # The last to be written: where it is, the others are.
        write_json(folder / FACTS_FILE, {"macs": cost.macs, "parameters": cost.parameters})

    return piece(folder / FACTS_FILE, make).parent


def _request(settings: SweepSettings, candidate: Candidate, checkpoint: Path | None, folder: Path) -> ExportRequest:
    images = settings.images
    return ExportRequest(
        checkpoint, folder, candidate.precision, target=settings.sweep.target,
        calibration=_path(images.calibration) if candidate.precision == "static" else None,
        calibration_samples=images.calibration_samples,
        calibration_method=candidate.calibration_method or "auto", effort=candidate.effort or "fast",
        seed=settings.sweep.seed, evaluation=_path(images.evaluation), evaluation_samples=_PROBED,
        threads=settings.sweep.threads,
    )  # fmt: skip


def _pruned(ground: Ground, candidate: Candidate) -> tuple[Path | None, str]:
    """Return the checkpoint of a candidate (None is the one that ships), and the name of what it is made from."""
    settings = ground.settings
    checkpoint = None if candidate.model == SHIPPED else Path(candidate.model)
    sha256 = ground.hashes[candidate.model]
    if candidate.macs == 1.0:
        return checkpoint, key(model=sha256, images=ground.images)
    name = key(
        model=sha256, macs=candidate.macs, pruning=settings.pruning.model_dump(), images=ground.images,
        samples=settings.images.pruning_samples, target=settings.sweep.target,
    )  # fmt: skip
    make = functools.partial(_prune, settings, candidate, checkpoint)
    return piece(ground.folder / "pruned" / f"{name}.safetensors", make), name


def _prune(settings: SweepSettings, candidate: Candidate, checkpoint: Path | None, path: Path) -> None:
    how = Structured(
        "macs", candidate.macs, widths=settings.pruning.widths, divisor=channel_multiple_for(settings.sweep.target),
    )  # fmt: skip
    prune_model(
        PruneRequest(
            None if checkpoint is None else str(checkpoint), path, "structured", how,
            recover=settings.pruning.recover, images=_path(settings.images.pruning),
            samples=settings.images.pruning_samples, evaluation=_path(settings.images.evaluation),
            evaluation_samples=_PROBED, target=settings.sweep.target, threads=settings.sweep.threads,
        )
    )  # fmt: skip


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
