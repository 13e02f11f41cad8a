"""Named training recipes: the ones people use for MobileNets, and the one that made the model that ships."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from edgekit.data import Augmentation
from edgekit.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained; the learning rate warms up linearly and then follows a cosine down to zero.

    Attributes:
        name: What `--recipe` takes.
        optimizer: `sgd` (with Nesterov momentum) or `rmsprop` (with momentum).
        learning_rate: Highest learning rate, for the recipe's own batch size.
        epochs: Passes over the training images.
        augmentation: Random changes to the images.
        batch_size: Images a step.
        momentum: Momentum of the optimizer.
        weight_decay: L2 penalty on pointwise, standard and linear weights; depthwise weights, biases and
            batch normalisation have none (Howard et al. 2017, section 3.2).
        warmup_epochs: Epochs of linear warm-up.
        label_smoothing: Share of the target probability spread over all classes.
        clip_norm: Largest norm of the gradient; None does not clip.
    """

    name: str
    optimizer: Literal["sgd", "rmsprop"]
    learning_rate: float
    epochs: int
    augmentation: Augmentation
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 4e-5
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float | None = 2.0


IMAGENET_AUGMENTATION = Augmentation(resized_crop=0.08, flip=True, colour_jitter=0.2)
CIFAR_AUGMENTATION = Augmentation(crop_padding=4, flip=True)
FINETUNE_AUGMENTATION = Augmentation(resized_crop=0.35, flip=True)

_RECIPES = (
    Recipe("sgd", "sgd", 0.01, 200, IMAGENET_AUGMENTATION),
    Recipe("rmsprop_v1", "rmsprop", 0.001, 200, IMAGENET_AUGMENTATION, label_smoothing=0.1),
    Recipe("rmsprop_v3", "rmsprop", 0.01, 200, IMAGENET_AUGMENTATION, warmup_epochs=5, label_smoothing=0.1),
    Recipe(
        "cifar10", "sgd", 0.1, 50, CIFAR_AUGMENTATION,
        batch_size=64, weight_decay=3e-4, warmup_epochs=1, label_smoothing=0.1,
    ),
    Recipe("finetune", "sgd", 0.005, 10, FINETUNE_AUGMENTATION, warmup_epochs=0.5, label_smoothing=0.1),
)  # fmt: skip
RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _RECIPES})


def recipe(name: str) -> Recipe:
    """Return the recipe of that name; raises UsageError EK001 when there is none."""
    if name not in RECIPES:
        raise UsageError(
            "EK001",
            f"there is no recipe {name!r}",
            where="--recipe",
            hint=f"take one of {', '.join(RECIPES)}",
        )
    return RECIPES[name]
