"""`edgekit train`: images and a recipe in, a checkpoint that carries its whole description out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import edgekit
from edgekit.data import ImageSet, batches, open_images, require_labels
from edgekit.errors import DataError, TrainingError
from edgekit.files import check_folder
from edgekit.models import (
    NO_OVERRIDES,
    LoadedModel,
    Overrides,
    build,
    complete_preprocessing,
    load,
    save_checkpoint,
    to_metadata,
)
from edgekit.spec import ModelSpec, Note, Preprocessing
from edgekit.training import AUTO, EpochResult, Place, Recipe, Step, Teacher, initialise, joined, train, unfold

CHECKPOINT_FILE = "model.safetensors"
# Enough to know the mean and variance of a channel; each image gives hundreds of positions.
UNFOLDING_IMAGES, UNFOLDING_BATCH = 256, 32


@dataclasses.dataclass(frozen=True)
class TrainRequest:
    """What to train, on what, how, and where to put it.

    Attributes:
        images: Class-per-folder tree, zip of one, or npz with labels.
        recipe: How to train.
        output: Folder for `model.safetensors` and the state.
        model: Checkpoint to start from; None starts from random weights.
        overrides: Description of the model; the number of classes is that of the images.
        evaluation: Labelled images to measure accuracy on; None measures none.
        evaluate_every: Epochs from one evaluation to the next.
        teacher: Checkpoint to learn from beside the labels; None learns from the labels alone.
        distill_weight: Share of the loss that is distance from the teacher; with 1.0 images need no labels.
        temperature: Softens the logits of both.
        seed: Seed of weights, image order, augmentation and dropout, 0 to 2**32 - 1.
        resume: Go on from the state in `output`.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.
    """

    images: Path | str
    recipe: Recipe
    output: Path
    model: Path | None = None
    overrides: Overrides = NO_OVERRIDES
    evaluation: Path | str | None = None
    evaluate_every: int = 1
    teacher: Path | None = None
    distill_weight: float = 0.7
    temperature: float = 4.0
    seed: int = 0
    resume: bool = False
    device: str = AUTO


@dataclasses.dataclass(frozen=True)
class TrainOutcome:
    """What training came to; of several processes the first has written it."""

    checkpoint: Path
    spec: ModelSpec
    parameters: int
    history: tuple[EpochResult, ...]
    broken: tuple[str, ...]
    notes: tuple[Note, ...]
    place: Place


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where training begins.

    Attributes:
        images: Training images, labelled in the order of the logits.
        class_names: Names in the same order.
        module: Model with its first weights.
        spec: Description of the model.
        preprocessing: How images become its input.
        weights: Where the weights came from.
        notes: What was assumed or replaced.
    """

    images: ImageSet
    class_names: tuple[str, ...]
    module: nn.Module
    spec: ModelSpec
    preprocessing: Preprocessing
    weights: str
    notes: tuple[Note, ...] = ()


def train_model(
    request: TrainRequest,
    *,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> TrainOutcome:
    """Train a model and write it, with its description as metadata, after each epoch.

    Raises:
        EdgekitError: as `open_images`, `load` and `train` do.
    """
    start = _starting_point(request)
    evaluation = open_images(request.evaluation, class_names=start.class_names) if request.evaluation else None
    check_folder(request.output)
    checkpoint = request.output / CHECKPOINT_FILE

    def write(result: EpochResult, trained: nn.Module) -> None:
        provenance = _provenance(request, start, result)
        metadata = to_metadata(start.spec, start.preprocessing, start.class_names, provenance)
        save_checkpoint(checkpoint, trained, metadata)
        on_epoch(result)

    with joined(request.device) as place:
        trained = train(
            start.module, start.spec, start.preprocessing, request.recipe, start.images, request.output,
            evaluation=evaluation, evaluate_every=request.evaluate_every, seed=request.seed,
            initial_weights=start.weights, teacher=_teacher(request, start), resume=request.resume,
            place=place, on_step=on_step, on_epoch=write,
        )  # fmt: skip
    parameters = sum(parameter.numel() for parameter in trained.module.parameters())
    broken = tuple(f"{image.identifier}: {image.reason}" for image in trained.broken)
    return TrainOutcome(checkpoint, start.spec, parameters, trained.history, broken, start.notes, place)


def _starting_point(request: TrainRequest) -> _Start:
    images = open_images(request.images)
    class_names = images.class_names or _numbers(images)
    if request.model is None:
        fields = {"architecture": "mobilenet_v1", **request.overrides.of_spec(), "num_classes": len(class_names)}
        spec = ModelSpec(**fields)
        preprocessing = complete_preprocessing({}, request.overrides, spec)
        module = _random_weights(spec, request)
        return _Start(images, class_names, module, spec, preprocessing, f"random, seed {request.seed}")
    loaded = _normalised(load(request.model, request.overrides), images)
    if len(class_names) == loaded.spec.num_classes:
        if loaded.class_names is None:
            note = Note(
                "train",
                f"the checkpoint does not name its {len(class_names)} classes: they are taken to be those of the "
                "images, in the same order",
            )
            return _as_loaded(loaded, images, class_names, note)
        ordered = _in_order(request.images, loaded.class_names)
        if ordered is not None:
            return _as_loaded(loaded, ordered, loaded.class_names)
    return _with_new_last_layer(loaded, images, class_names, request)


def _normalised(loaded: LoadedModel, images: ImageSet) -> LoadedModel:
    """Bring batch normalisation that the checkpoint had folded away back to life, measured on training images."""
    chosen = images.spread(UNFOLDING_IMAGES)
    with contextlib.closing(batches(chosen, loaded.preprocessing, UNFOLDING_BATCH)) as stream:
        count = unfold(loaded.module, (torch.from_numpy(batch.images) for batch in stream))
    if not count:
        return loaded
    note = Note(
        "train",
        f"{count} batch normalisations of the checkpoint had been folded into its convolutions: their statistics were "
        f"measured on {len(chosen)} of the training images, without changing what the model computes",
    )
    return dataclasses.replace(loaded, notes=(*loaded.notes, note))


def _teacher(request: TrainRequest, start: _Start) -> Teacher | None:
    """Load the model to learn from; raises TrainingError EK303 when it does not take and give the same."""
    if request.teacher is None:
        return None
    loaded = load(request.teacher)
    ours, its = start.preprocessing, loaded.preprocessing
    differs = next(
        (
            name
            for name, one, other in (
                ("number of classes", start.spec.num_classes, loaded.spec.num_classes),
                ("class names", start.class_names, loaded.class_names or start.class_names),
                ("input size", ours.input_size, its.input_size),
                ("mean", ours.mean, its.mean),
                ("standard deviation", ours.std, its.std),
            )
            if one != other
        ),
        None,
    )
    if differs is not None:
        raise TrainingError(
            "EK303",
            f"the {differs} of the teacher is not that of the model",
            where=str(request.teacher),
            hint="take a teacher that was trained on the same classes, with the same preprocessing",
        )
    return Teacher(loaded.module, loaded.sha256, request.distill_weight, request.temperature)


def _numbers(images: ImageSet) -> tuple[str, ...]:
    """Name the classes of an npz, which has none, by their indices; raises DataError EK204 without labels."""
    return tuple(str(index) for index in range(max(require_labels(images)) + 1))


def _in_order(path: Path | str, class_names: tuple[str, ...]) -> ImageSet | None:
    """Open images with their labels in the order of a model's classes; None when theirs are other classes."""
    try:
        return open_images(path, class_names=class_names)
    except DataError as error:
        if error.code != "EK207":
            raise
        return None


def _as_loaded(loaded: LoadedModel, images: ImageSet, class_names: tuple[str, ...], *notes: Note) -> _Start:
    return _Start(
        images, class_names, loaded.module, loaded.spec, loaded.preprocessing, loaded.sha256, (*loaded.notes, *notes)
    )


def _with_new_last_layer(
    loaded: LoadedModel, images: ImageSet, class_names: tuple[str, ...], request: TrainRequest
) -> _Start:
    spec = dataclasses.replace(loaded.spec, num_classes=len(class_names))
    module = _random_weights(spec, request)
    last = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]
    kept = {name: tensor for name, tensor in loaded.module.state_dict().items() if not name.startswith(f"{last}.")}
    module.load_state_dict({**module.state_dict(), **kept})
    if spec.num_classes == loaded.spec.num_classes:
        reason = f"the {spec.num_classes} classes of the images are not those of the checkpoint"
    else:
        reason = f"{loaded.spec.num_classes} classes became {spec.num_classes}"
    notes = (*loaded.notes, Note("train", f"the last layer is new: {reason}"))
    return _Start(images, class_names, module, spec, loaded.preprocessing, loaded.sha256, notes)


def _random_weights(spec: ModelSpec, request: TrainRequest) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        module = build(spec)
    initialise(module, request.recipe, request.seed)
    return module


def _provenance(request: TrainRequest, start: _Start, result: EpochResult) -> dict[str, str]:
    facts = {
        "edgekit": edgekit.__version__,
        "recipe": json.dumps(dataclasses.asdict(request.recipe)),
        "seed": str(request.seed),
        "epochs_done": str(result.epoch),
        "training_images": str(len(start.images)),
        "initial_weights": start.weights,
    }
    if result.top1 is not None:
        facts["top1"] = f"{result.top1:.2f}"
        facts["top1_images"] = str(result.evaluated)
    return facts
