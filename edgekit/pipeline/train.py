"""`edgekit train`: images and a recipe in, a checkpoint that carries its whole description out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import edgekit
from edgekit.data import ImageSet, open_images
from edgekit.errors import DataError
from edgekit.files import check_folder, writing
from edgekit.models import NO_OVERRIDES, LoadedModel, Overrides, build, complete_preprocessing, load, to_metadata
from edgekit.spec import ModelSpec, Note, Preprocessing
from edgekit.training import EpochResult, Recipe, Step, train

CHECKPOINT_FILE = "model.safetensors"


@dataclasses.dataclass(frozen=True)
class TrainRequest:
    """What to train, on what, how, and where to put it.

    Attributes:
        images: Class-per-folder tree, zip of one, or npz with labels.
        recipe: How to train.
        output: Folder for `model.safetensors` and the state.
        model: Checkpoint to start from; None starts from random weights.
        overrides: Description of the model; the number of classes defaults to that of the images.
        evaluation: Labelled images to measure accuracy on; None measures none.
        evaluate_every: Epochs from one evaluation to the next.
        seed: Seed of weights, image order, augmentation and dropout.
        resume: Go on from the state in `output`.
    """

    images: Path
    recipe: Recipe
    output: Path
    model: Path | None = None
    overrides: Overrides = NO_OVERRIDES
    evaluation: Path | None = None
    evaluate_every: int = 1
    seed: int = 0
    resume: bool = False


@dataclasses.dataclass(frozen=True)
class TrainOutcome:
    """What training came to."""

    checkpoint: Path
    spec: ModelSpec
    parameters: int
    history: tuple[EpochResult, ...]
    broken: tuple[str, ...]
    notes: tuple[Note, ...]


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
    check_folder(request.output)
    images = open_images(request.images)
    class_names = images.class_names
    if class_names is None:
        raise DataError(
            "EK204",
            "training needs labels",
            where=str(request.images),
            hint="put the images in one folder a class",
        )
    module, spec, preprocessing, notes, start = _starting_point(request, len(class_names))
    evaluation = open_images(request.evaluation, class_names=class_names) if request.evaluation else None
    checkpoint = request.output / CHECKPOINT_FILE

    def write(result: EpochResult, trained: nn.Module) -> None:
        metadata = to_metadata(spec, preprocessing, class_names, _provenance(request, images, result))
        _write_checkpoint(checkpoint, trained, metadata)
        on_epoch(result)

    trained = train(
        module, spec, preprocessing, request.recipe, images, request.output,
        evaluation=evaluation, evaluate_every=request.evaluate_every, seed=request.seed,
        initial_weights=start, resume=request.resume, on_step=on_step, on_epoch=write,
    )  # fmt: skip
    parameters = sum(parameter.numel() for parameter in module.parameters())
    broken = tuple(f"{image.identifier}: {image.reason}" for image in trained.broken)
    return TrainOutcome(checkpoint, spec, parameters, trained.history, broken, notes)


def _starting_point(
    request: TrainRequest, classes: int
) -> tuple[nn.Module, ModelSpec, Preprocessing, tuple[Note, ...], str]:
    """Return the module to train, its description, what was assumed, and a word on where its weights came from."""
    if request.model is not None:
        loaded: LoadedModel = load(request.model, request.overrides)
        if loaded.spec.num_classes == classes:
            return loaded.module, loaded.spec, loaded.preprocessing, loaded.notes, loaded.sha256
        spec = dataclasses.replace(loaded.spec, num_classes=classes)
        torch.manual_seed(request.seed)
        module = build(spec)
        state = module.state_dict()
        kept = {name: value for name, value in loaded.module.state_dict().items() if value.shape == state[name].shape}
        module.load_state_dict({**state, **kept})
        note = Note("train", f"the last layer is new: {loaded.spec.num_classes} classes became {classes}")
        return module, spec, loaded.preprocessing, (*loaded.notes, note), loaded.sha256
    fields = {"architecture": "mobilenet_v1", "num_classes": classes, **request.overrides.of_spec()}
    spec = ModelSpec(**fields)
    torch.manual_seed(request.seed)
    return (
        build(spec),
        spec,
        complete_preprocessing({}, request.overrides, spec),
        (),
        f"random, seed {request.seed}",
    )


def _provenance(request: TrainRequest, images: ImageSet, result: EpochResult) -> dict[str, str]:
    facts = {
        "edgekit": edgekit.__version__,
        "recipe": json.dumps(dataclasses.asdict(request.recipe)),
        "seed": str(request.seed),
        "epochs_done": str(result.epoch),
        "training_images": str(len(images)),
    }
    if result.top1 is not None:
        facts["top1"] = f"{result.top1:.2f}"
        facts["top1_images"] = str(result.evaluated)
    return facts


def _write_checkpoint(path: Path, module: nn.Module, metadata: dict[str, str]) -> None:
    tensors = {
        name: value.detach().contiguous(memory_format=torch.contiguous_format)
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with writing(path) as temporary:
        save_file(tensors, temporary, metadata)
