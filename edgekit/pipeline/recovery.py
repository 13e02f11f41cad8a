"""Training a pruned model back: from the original's outputs, or from labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from edgekit.data import ImageSet, open_images, require_labels, sample
from edgekit.errors import DataError, PruningError
from edgekit.files import check_folder
from edgekit.models import NO_OVERRIDES, LoadedModel, MobileNet, Overrides, load, save_checkpoint, to_metadata
from edgekit.spec import ModelSpec, Note
from edgekit.training import AUTO, EpochResult, Place, Recipe, Step, Teacher, chosen_device, train

# One image in so many is held out, and decides which epoch is kept.
HELD_OUT = 20
SHIPPED_NAME = "the sample that ships"


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How to train a pruned model.

    Attributes:
        recipe: How to train.
        patience: Epochs without a better result on held-out images, after which training ends.
        seed: Seed of image order and augmentation.
        resume: Go on from the state beside the output.
        device: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`.
    """

    recipe: Recipe
    patience: int = 5
    seed: int = 0
    resume: bool = False
    device: str = AUTO


@dataclasses.dataclass(frozen=True)
class RecoverRequest:
    """Which pruned checkpoint to train back, and where to put the result.

    Attributes:
        original: The model before pruning, as `load` takes it.
        pruned: Checkpoint that `prune_model` wrote.
        output: File to write.
        how: How to train.
        from_labels: Labels teach, and the original does not.
        overrides: What the user says about the original.
        images: Images to train with; None takes the sample that ships, where it fits.
    """

    original: str | None
    pruned: Path
    output: Path
    how: Recovery
    from_labels: bool = False
    overrides: Overrides = NO_OVERRIDES
    images: Path | str | None = None


@dataclasses.dataclass(frozen=True)
class RecoverOutcome:
    """The file that was written, the epochs of training, and what was assumed."""

    checkpoint: Path
    history: tuple[EpochResult, ...]
    notes: tuple[Note, ...]


def recover_model(
    request: RecoverRequest,
    *,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> RecoverOutcome:
    """Train a pruned checkpoint back, as `prune_model` does when it is asked to do both.

    Raises:
        EdgekitError: EK1xx for the models, EK2xx for the images, EK3xx for training, EK804 without images, EK003
            where it cannot be written.
    """
    original, pruned = load(request.original, request.overrides), load(request.pruned)
    images = recovery_images(request.images, original, shipped=request.original is None)
    if images is None:
        raise PruningError(
            "EK804", "recovery needs images, and there are none", hint="give training images with [data] train"
        )
    provenance = _provenance(request.pruned)
    module, history = recover(
        original, pruned.module, pruned.spec, images, request.output, request.how,
        from_labels=request.from_labels, keep_zeros=_is_masked(provenance), on_step=on_step, on_epoch=on_epoch,
    )  # fmt: skip
    provenance["recovered"] = json.dumps(
        {"from_labels": request.from_labels, "recipe": dataclasses.asdict(request.how.recipe), "epochs": len(history)}
    )
    metadata = to_metadata(pruned.spec, original.preprocessing, original.class_names, provenance)
    save_checkpoint(request.output, module, metadata)
    return RecoverOutcome(request.output, history, (*original.notes, *pruned.notes))


def _provenance(path: Path) -> dict[str, str]:
    """Return what a pruned checkpoint says about how it came about; nothing where it is not one of edgekit's."""
    if path.suffix != ".safetensors":
        return {}
    with safetensors.safe_open(path, framework="pt") as file:
        stored = file.metadata() or {}
    return {key: stored[key] for key in ("edgekit", "pruning", "pruned_from") if key in stored}


def _is_masked(provenance: Mapping[str, str]) -> bool:
    """Tell whether single weights were pruned, which must stay zero."""
    try:
        return bool(json.loads(provenance["pruning"])["method"] != "structured")
    except (KeyError, ValueError, TypeError):
        return False


def recovery_images(path: Path | str | None, loaded: LoadedModel, *, shipped: bool) -> ImageSet | None:
    """Open the images that judge, repair and train a pruned model, with labels where these certainly fit.

    Args:
        path: Where they are; None takes the sample that ships.
        loaded: The model.
        shipped: It is the model that ships.

    Returns:
        The images; None when no path is given and the sample that ships has other classes.

    Raises:
        DataError: EK2xx when they cannot be used.
    """
    if path is not None:
        return _labelled_where_it_fits(path, loaded)
    known = sample()
    if loaded.random:  # Random weights cannot know the labels.
        return dataclasses.replace(known.calibration, name=SHIPPED_NAME, labels=None)
    if shipped or loaded.class_names == known.class_names:
        return dataclasses.replace(known.calibration, name=SHIPPED_NAME)
    return None


def _labelled_where_it_fits(path: Path | str, loaded: LoadedModel) -> ImageSet:
    try:
        images = open_images(path, class_names=loaded.class_names)
    except DataError as error:
        if error.code != "EK207":
            raise
        return dataclasses.replace(open_images(path), labels=None)
    fits = images.labels is not None and loaded.class_names is not None
    return images if fits else dataclasses.replace(images, labels=None)


def state_folder(output: Path) -> Path:
    """Return where the state of a recovery lies, beside its output."""
    return output.with_name(f"{output.stem}.recovery")


def recover(
    original: LoadedModel,
    module: MobileNet,
    spec: ModelSpec,
    images: ImageSet,
    output: Path,
    how: Recovery,
    *,
    from_labels: bool,
    keep_zeros: bool,
    on_step: Callable[[Step], None],
    on_epoch: Callable[[EpochResult], None],
) -> tuple[MobileNet, tuple[EpochResult, ...]]:
    """Train a pruned model; the epoch that is best on held-out training images is kept.

    Args:
        original: The model before pruning, which teaches unless labels alone do.
        module: The pruned model, changed in place.
        spec: Its description.
        images: Training images; labels are needed where they teach.
        output: File that will hold the result; the state lies in a folder beside it.
        how: How to train.
        from_labels: Labels teach, and the original does not.
        keep_zeros: Weights that are zero stay zero.
        on_step: Called after each step.
        on_epoch: Called after each epoch.

    Raises:
        EdgekitError: As `train`; EK204 when labels are needed and there are none.
    """
    if from_labels:
        require_labels(images)
    held_out = images.spread(max(1, len(images) // HELD_OUT))
    labelled = images.labels is not None
    teacher = None
    if not from_labels:
        teacher = Teacher(original.module, original.sha256, weight=0.7 if labelled else 1.0)
    folder = state_folder(output)
    check_folder(folder)
    best = _Best(folder, how.resume)

    def keep(result: EpochResult, trained: nn.Module) -> None:
        best.see(result, trained)
        on_epoch(result)

    trained = train(
        module, spec, original.preprocessing, how.recipe, images.without(held_out), folder,
        evaluation=held_out if labelled else None, seed=how.seed, initial_weights=f"pruned {original.sha256}",
        teacher=teacher, keep_zeros=keep_zeros, resume=how.resume, place=Place(chosen_device(how.device)),
        stop=lambda history: stagnant(history, how.patience),
        on_step=on_step, on_epoch=keep,
    )  # fmt: skip
    best.restore(module)
    return module.eval(), trained.history


def stagnant(history: tuple[EpochResult, ...], patience: int) -> bool:
    """Tell whether the last `patience` epochs brought nothing better than what was there before them."""
    measured = [result.top1 for result in history if result.top1 is not None]
    return len(measured) > patience and max(measured[-patience:]) < max(measured[:-patience])


class _Best:
    """The weights of the best epoch so far, in a file beside the state, so that they outlive an interruption."""

    def __init__(self, folder: Path, resume: bool) -> None:
        self._path = folder / "best.safetensors"
        if not resume:
            self._path.unlink(missing_ok=True)

    def see(self, result: EpochResult, module: nn.Module) -> None:
        """Keep the weights of an epoch that is at least as good as the best; without accuracies the last is kept."""
        if result.top1 is None or result.top1 >= self._top1():
            save_checkpoint(self._path, module, {"top1": str(-1.0 if result.top1 is None else result.top1)})

    def restore(self, module: nn.Module) -> None:
        """Give a module the best weights."""
        module.load_state_dict(safetensors.torch.load_file(self._path), strict=False)

    def _top1(self) -> float:
        if not self._path.is_file():
            return -1.0
        with safetensors.safe_open(self._path, framework="pt") as file:
            return float(file.metadata()["top1"])
