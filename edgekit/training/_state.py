"""What a training run leaves after each epoch: enough to go on from there to the same result."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.errors import TrainingError
from edgekit.files import writing
from edgekit.spec import ModelSpec, Preprocessing
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
    spec: ModelSpec, preprocessing: Preprocessing, recipe: Recipe, seed: int, images: int, start: str
) -> dict[str, Any]:
    """Return what must be equal for a run to be a continuation of another, as plain JSON."""
    parts = {
        "model": dataclasses.asdict(spec),
        "preprocessing": dataclasses.asdict(preprocessing),
        "recipe": dataclasses.asdict(recipe),
        "seed": seed,
        "training_images": images,
        "initial_weights": start,
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
    """Write the state of a run, whole or not at all."""
    content = {
        "schema": SCHEMA,
        "run": json.dumps(run),
        "history": json.dumps([dataclasses.asdict(result) for result in history]),
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with writing(path) as temporary:
        torch.save(content, temporary)


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
        content = torch.load(path, map_location="cpu", weights_only=True)
        stored, history = json.loads(content["run"]), json.loads(content["history"])
        results = tuple(EpochResult(**result) for result in history)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        OSError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refusal(path, f"the training state is damaged ({reason})", "start again without --resume") from error
    for part, value in run.items():
        if stored.get(part) != value:
            raise _refusal(
                path,
                f"it belongs to another run: {part} was {stored.get(part)} and is {value}",
                "give the options of the first run, or another --output to start a new one",
            )
    module.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return results


def _refusal(path: Path, what: str, hint: str) -> TrainingError:
    return TrainingError("EK301", what, where=str(path), hint=hint)
