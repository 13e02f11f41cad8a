"""What a training run leaves after each epoch: enough to go on from there to the same result."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.data import ImageSet
from edgekit.errors import TrainingError
from edgekit.files import write_bytes
from edgekit.spec import ModelSpec, Preprocessing
from edgekit.training._distill import Teacher
from edgekit.training.recipes import Recipe

SCHEMA = "edgekit.training/1"


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """What one epoch came to.

    Attributes:
        epoch: Epochs finished, from 1.
        loss: Mean training loss.
        train_top1: Accuracy on the augmented training images as they were seen, in percent.
        top1: Accuracy on the evaluation images after the epoch, in percent; None when not evaluated.
        evaluated: Evaluation images behind `top1`.
        seconds: Wall time of the epoch.
    """

    epoch: int
    loss: float
    train_top1: float
    top1: float | None
    evaluated: int
    seconds: float


def identity(
    spec: ModelSpec,
    preprocessing: Preprocessing,
    recipe: Recipe,
    seed: int,
    images: ImageSet,
    start: str,
    teacher: Teacher | None,
) -> dict[str, Any]:
    """Return what must be equal for a run to be a continuation of another, as plain JSON."""
    listing = json.dumps([images.identifiers, images.labels, images.class_names])
    parts = {
        "model": dataclasses.asdict(spec),
        "preprocessing": dataclasses.asdict(preprocessing),
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "training_images": len(images),
        "training_labels": hashlib.sha256(listing.encode()).hexdigest(),
        "initial_weights": start,
        "teacher": None if teacher is None else [teacher.sha256, teacher.weight, teacher.temperature],
    }
    plain: dict[str, Any] = json.loads(json.dumps(parts))
    return plain


def save(
    path: Path,
    run: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    history: tuple[EpochResult, ...],
) -> None:
    """Write the state of a run, whole or not at all; raises UsageError EK003."""
    content = {
        "schema": SCHEMA,
        "run": json.dumps(run),
        "history": json.dumps([dataclasses.asdict(result) for result in history]),
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    # Through memory: torch's own file writer meets a full disk with a RuntimeError that tells nothing.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def restore(
    path: Path, run: dict[str, Any], module: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[EpochResult, ...]:
    """Load a state into `module` and `optimizer`; returns the epochs done.

    Raises:
        TrainingError: EK301 when there is no state, it is damaged, or it belongs to another run.
    """
    if not path.is_file():
        raise _refusal(path, "there is no training state", "leave out --resume to start a new run")
    try:
        content = _read(path)
        stored = _completed(json.loads(content["run"]), run)
        differences = [_difference(part, stored[part], value) for part, value in run.items() if stored[part] != value]
        if not differences:
            module.load_state_dict(content["model"])
            optimizer.load_state_dict(content["optimizer"])
            return tuple(EpochResult(**result) for result in json.loads(content["history"]))
    except Exception as error:  # Whatever the bytes of a broken file lead to: OSError, KeyError, struct.error, …
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refusal(path, f"the training state is damaged ({reason})", "start again without --resume") from error
    hint = "give the options of the first run, or another --output to start a new one"
    raise _refusal(path, f"it belongs to another run: {differences[0]}", hint)


def _read(path: Path) -> dict[str, Any]:
    # torch.load does not look at the checksums.
    with zipfile.ZipFile(path) as archive:
        if broken := archive.testzip():
            raise ValueError(f"the checksum of {broken} is wrong")
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if content["schema"] != SCHEMA:
        raise ValueError(f"its schema is {content['schema']!r}, not {SCHEMA!r}")
    return content


def _completed(stored: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the first states of this schema did not hold."""
    recipe = {"initialisation": "torch", **stored["recipe"]}
    model = {"channels": None, **stored["model"]}
    return {"training_labels": run["training_labels"], "teacher": None, **stored, "recipe": recipe, "model": model}


def _difference(part: str, was: Any, now: Any) -> str:
    """Say in which field two values differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        field = next(name for name in (*now, *was) if was.get(name) != now.get(name))
        return _difference(f"{part}.{field}", was.get(field), now.get(field))
    return f"{part} was {was} and is {now}"


def _refusal(path: Path, what: str, hint: str) -> TrainingError:
    return TrainingError("EK301", what, where=str(path), hint=hint)
