"""Training a pruned model back: from the original's outputs, or from labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from edgekit.data import ImageSet, require_labels
from edgekit.files import check_folder
from edgekit.models import LoadedModel, MobileNet, save_checkpoint
from edgekit.spec import ModelSpec
from edgekit.training import EpochResult, Recipe, Step, Teacher, train

# One image in so many is held out, and decides which epoch is kept.
HELD_OUT = 20


@dataclasses.dataclass(frozen=True)
class Recovery:
    """How to train a pruned model.

    Attributes:
        recipe: How to train.
        patience: Epochs without a better result on held-out images, after which training ends.
        seed: Seed of image order and augmentation.
        resume: Go on from the state beside the output.
    """

    recipe: Recipe
    patience: int = 5
    seed: int = 0
    resume: bool = False


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
        teacher=teacher, keep_zeros=keep_zeros, resume=how.resume, stop=lambda history: stagnant(history, how.patience),
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
