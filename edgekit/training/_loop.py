"""The training loop."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from edgekit.data import BrokenImage, ImageSet, batches, require_labels
from edgekit.errors import DataError, TrainingError
from edgekit.spec import ModelSpec, Preprocessing
from edgekit.training import _state
from edgekit.training._distill import Teacher, loss_of
from edgekit.training._loader import TrainingImages
from edgekit.training._optimization import learning_rate, optimizer
from edgekit.training._place import Place
from edgekit.training._state import EpochResult
from edgekit.training.recipes import Recipe, check

STATE_FILE = "training.pt"
EVALUATION_BATCH = 250
Zeros = tuple[tuple[torch.Tensor, torch.Tensor], ...]


@dataclasses.dataclass(frozen=True)
class Step:
    """Where training stands: epoch from 1, step from 1, and running means over the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    top1: float


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished run: the module in eval mode, what each epoch came to, and training images that were broken."""

    module: nn.Module
    history: tuple[EpochResult, ...]
    broken: tuple[BrokenImage, ...]


def train(
    module: nn.Module,
    spec: ModelSpec,
    preprocessing: Preprocessing,
    recipe: Recipe,
    images: ImageSet,
    output: Path,
    *,
    evaluation: ImageSet | None = None,
    evaluate_every: int = 1,
    seed: int = 0,
    initial_weights: str = "random",
    teacher: Teacher | None = None,
    keep_zeros: bool = False,
    resume: bool = False,
    place: Place | None = None,
    stop: Callable[[tuple[EpochResult, ...]], bool] = lambda history: False,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[EpochResult, nn.Module], None] = lambda result, module: None,
) -> Trained:
    """Train a model; its state is written to `output`/training.pt after each epoch.

    The same arguments give the same weights on the same machine with the same number of threads, whether or not
    the run was interrupted and resumed. Of several processes each computes its share of every batch, with batch
    normalisation over that share.

    Args:
        module: Model to train, changed in place; at the end it is on the CPU again.
        spec: Description of the model, checked on resume.
        preprocessing: Input size and normalisation.
        recipe: How to train.
        images: Labelled training images.
        output: Folder for the state.
        evaluation: Labelled images to measure accuracy on.
        evaluate_every: Epochs from one evaluation to the next; the last epoch is always evaluated.
        seed: Seed of image order, augmentation and dropout, 0 to 2**32 - 1.
        initial_weights: Where the weights came from, checked on resume.
        teacher: Model to learn from; where it has all the weight, training images need no labels, and the accuracy on
            them is agreement with the teacher.
        keep_zeros: Weights of convolutions and linear layers that are zero at the start stay zero.
        resume: Go on from the state in `output`, which all processes must see.
        place: Device, and part among several processes; None is the CPU and one process.
        stop: Asked after each epoch whether to end before the recipe's last.
        on_step: Called after each step, in the first process alone, with the means of its own images.
        on_epoch: Called after each epoch, in the first process alone, with the module in eval mode; on resume first for
            the last epoch done, since the interruption may have come before its call.

    Raises:
        DataError: EK203, EK204 or EK208 when the images cannot be used.
        TrainingError: EK301 when the run cannot be resumed, EK302 when the loss or the weights are no longer finite.
        UsageError: EK001 when the recipe cannot be followed, EK003 when the state cannot be written.
    """
    check(recipe)
    if teacher is not None:
        teacher.check()
    for image_set in (images if teacher is None or teacher.weight < 1.0 else None, evaluation):
        if image_set is not None:
            require_labels(image_set)
    if len(images) < 2:
        raise DataError("EK208", "training needs at least two images", where=images.name, hint="add images")
    place = place or Place()
    place.check_batch(recipe.batch_size)
    loader = TrainingImages(images, preprocessing, recipe.augmentation, seed, place)
    parameters = optimizer(module, recipe)
    run = _state.identity(spec, preprocessing, recipe, seed, images, initial_weights, teacher)
    history: tuple[EpochResult, ...] = ()
    with place.host(module, *([] if teacher is None else [teacher.module])) as shared:
        zeros = _zeros(module) if keep_zeros else ()
        if resume:
            history = _state.restore(output / STATE_FILE, run, module, parameters)
            module.eval()
            if history and place.first:
                on_epoch(history[-1], module)
        for epoch in range(len(history), recipe.epochs):
            if stop(history):
                break
            started = time.monotonic()
            # Dropout must not depend on how often the run was interrupted; torch's own random state stays as it was.
            with torch.random.fork_rng(devices=_generators(place)):
                torch.manual_seed((seed << 16) + epoch + (place.rank << 48))
                loss, train_top1 = _epoch(shared, parameters, loader, recipe, teacher, zeros, place, epoch, on_step)
            place.agree(module)
            module.eval()
            _require_finite(module, epoch)
            top1, evaluated = None, 0
            if evaluation is not None and ((epoch + 1) % evaluate_every == 0 or epoch + 1 == recipe.epochs):
                top1, evaluated = _accuracy(module, evaluation, preprocessing, place)
            result = EpochResult(epoch + 1, loss, train_top1, top1, evaluated, time.monotonic() - started)
            history = (*history, result)
            if place.first:
                _state.save(output / STATE_FILE, run, module, parameters, history)
                on_epoch(result, module)
    return Trained(module.eval(), history, loader.broken)


def _generators(place: Place) -> list[int]:
    """Return the GPUs whose random state a run changes."""
    return [] if place.device.index is None else [place.device.index]


def _epoch(
    module: nn.Module,
    parameters: torch.optim.Optimizer,
    loader: TrainingImages,
    recipe: Recipe,
    teacher: Teacher | None,
    zeros: Zeros,
    place: Place,
    epoch: int,
    on_step: Callable[[Step], None],
) -> tuple[float, float]:
    """Run one epoch; returns its mean loss and accuracy in percent."""
    module.train()
    steps = loader.steps(recipe.batch_size)
    loss_sum, correct, seen = 0.0, 0.0, 0.0
    with contextlib.closing(loader.epoch(epoch, recipe.batch_size)) as stream:
        for step, (images, labels) in enumerate(stream, start=1):
            for group in parameters.param_groups:
                group["lr"] = learning_rate(recipe, epoch + step / steps)
            logits = module(images)
            taught = None if teacher is None else teacher.logits(images)
            loss = loss_of(logits, labels, taught, teacher, recipe.label_smoothing)
            value = loss.item()
            if not math.isfinite(value):
                raise _divergence(f"the loss became {value} in epoch {epoch + 1}, step {step}")
            parameters.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
            parameters.step()
            _set_zero(zeros)
            loss_sum += value * len(labels)
            answers = labels if taught is None or loader.labelled else taught.argmax(1)
            correct += float((logits.argmax(1) == answers).sum())
            seen += len(labels)
            if place.first:
                on_step(Step(epoch + 1, recipe.epochs, step, steps, loss_sum / seen, 100 * correct / seen))
    loss_sum, correct, seen = place.total(loss_sum, correct, seen)
    return loss_sum / seen, 100 * correct / seen


def _zeros(module: nn.Module) -> Zeros:
    """Return each weight that is zero in places, with the places."""
    weights = (layer.weight for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear)))
    return tuple((weight, weight.detach() == 0) for weight in weights if not bool(weight.all()))


@torch.no_grad()
def _set_zero(zeros: Zeros) -> None:
    for weight, places in zeros:
        weight.masked_fill_(places, 0.0)


def _require_finite(module: nn.Module, epoch: int) -> None:
    """Check what the loss of the last step cannot tell: the weights that it led to."""
    for name, tensor in module.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise _divergence(f"{name} became NaN or infinite in epoch {epoch + 1}")


def _divergence(what: str) -> TrainingError:
    return TrainingError("EK302", what, hint="start again with a lower --learning-rate")


@torch.inference_mode()
def _accuracy(module: nn.Module, images: ImageSet, preprocessing: Preprocessing, place: Place) -> tuple[float, int]:
    """Return top-1 accuracy in percent and the number of images, of which each process looks at a part."""
    part = images.select(range(place.rank, len(images), place.processes))
    correct, count = 0.0, 0.0
    for batch in batches(part, preprocessing, EVALUATION_BATCH, whole=len(images)) if len(part) else ():
        tensor = torch.from_numpy(batch.images).to(place.device, memory_format=torch.channels_last)
        assert batch.labels is not None
        correct += float((module(tensor).argmax(1).cpu().numpy() == batch.labels).sum())
        count += len(batch.labels)
    correct, count = place.total(correct, count)
    return 100 * correct / count, int(count)
