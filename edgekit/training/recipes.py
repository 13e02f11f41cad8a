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
        initialisation: How random weights begin: `torch` as its layers do by themselves, `mobilenet` Xavier-uniform in
            depthwise convolutions and He-normal (fan out) in all others.
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
    initialisation: Literal["torch", "mobilenet"] = "torch"

    def lasting(self, epochs: int) -> Recipe:
        """Return the recipe with its whole schedule, warm-up included, stretched or squeezed to `epochs`."""
        return dataclasses.replace(self, epochs=epochs, warmup_epochs=self.warmup_epochs * (epochs / self.epochs))


# The optimizers of torch calculate in float32.
LARGEST_FLOAT32 = 3.4e38

IMAGENET_AUGMENTATION = Augmentation(resized_crop=0.08, flip=True, colour_jitter=0.2)
CIFAR_AUGMENTATION = Augmentation(crop_padding=4, flip=True)
FINETUNE_AUGMENTATION = Augmentation(resized_crop=0.35, flip=True)

_RECIPES = (
    Recipe("sgd", "sgd", 0.01, 200, IMAGENET_AUGMENTATION, initialisation="mobilenet"),
    Recipe(
        "rmsprop_v1", "rmsprop", 0.001, 200, IMAGENET_AUGMENTATION, label_smoothing=0.1, initialisation="mobilenet",
    ),
    Recipe(
        "rmsprop_v3", "rmsprop", 0.01, 200, IMAGENET_AUGMENTATION,
        warmup_epochs=5, label_smoothing=0.1, initialisation="mobilenet",
    ),
    Recipe(
        "cifar10", "sgd", 0.1, 50, CIFAR_AUGMENTATION,
        batch_size=64, weight_decay=3e-4, warmup_epochs=1, label_smoothing=0.1,
    ),
    # Twice the learning rate of `finetune`, milder crops: the small images of CIFAR-10 hold nothing but their object.
    Recipe(
        "finetune_cifar10", "sgd", 0.04, 13, Augmentation(resized_crop=0.6, flip=True),
        batch_size=64, warmup_epochs=0.3, label_smoothing=0.05,
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


def check(recipe: Recipe) -> None:
    """Raise UsageError EK001 for the first field of `recipe` that nothing can be trained with."""
    requirements = (
        ("--epochs", recipe.epochs >= 1, f"{recipe.epochs} epochs are no training", "take 1 or more"),
        # Batch normalisation has nothing to average over in a batch of one image whose feature map is one pixel.
        ("--batch-size", recipe.batch_size >= 2, f"a batch of {recipe.batch_size} is too small", "take 2 or more"),
        (
            "--learning-rate",
            0.0 < recipe.learning_rate < LARGEST_FLOAT32,
            f"the learning rate is {recipe.learning_rate}",
            "take a number above 0, such as 0.05",
        ),
        (
            "--weight-decay",
            0.0 <= recipe.weight_decay < 1.0,
            f"the weight decay is {recipe.weight_decay}",
            "take 0 or more and less than 1",
        ),
        (
            "--label-smoothing",
            0.0 <= recipe.label_smoothing < 1.0,
            f"the label smoothing is {recipe.label_smoothing}",
            "take 0 or more and less than 1",
        ),
    )
    for option, fits, what, hint in requirements:
        if not fits:
            raise UsageError("EK001", what, where=option, hint=hint)
