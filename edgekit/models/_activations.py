"""Mean, spread and zeros of what each layer puts out: the first look when a model misbehaves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from edgekit.errors import DataError
from edgekit.models._profile import layer_kind

# Layers that pass their input on unchanged at inference.
_SILENT = (nn.Identity, nn.Dropout, nn.Flatten)


@dataclasses.dataclass(frozen=True)
class ActivationStatistics:
    """The outputs of one layer over all images.

    Attributes:
        name: Name of the module.
        kind: `standard`, `depthwise`, `pointwise`, `linear` as in the profile; else the name of its class.
        mean: Mean.
        std: Standard deviation, of the population.
        zero_share: Share of values that are exactly zero, 0..1.
        minimum: Smallest value.
        maximum: Largest value.
        count: Number of values.
    """

    name: str
    kind: str
    mean: float
    std: float
    zero_share: float
    minimum: float
    maximum: float
    count: int


@dataclasses.dataclass
class _Moments:
    """Running statistics; memory does not depend on how many values went in."""

    kind: str
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # Sum of squared distances from the mean.
    zeros: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, values: torch.Tensor) -> None:
        """Merge the values of one image (Chan, Golub, LeVeque 1979)."""
        values = values.double()
        count, mean = values.numel(), float(values.mean())
        squares = float((values - mean).square().sum())
        total, distance = self.count + count, mean - self.mean
        self.squares += squares + distance**2 * self.count * count / total
        self.mean += distance * count / total
        self.count = total
        self.zeros += count - int(values.count_nonzero())
        low, high = values.aminmax()
        self.minimum, self.maximum = min(self.minimum, float(low)), max(self.maximum, float(high))

    def result(self, name: str) -> ActivationStatistics:
        """Return what was gathered."""
        std = math.sqrt(self.squares / self.count)
        return ActivationStatistics(
            name, self.kind, self.mean, std, self.zeros / self.count, self.minimum, self.maximum, self.count
        )


def activation_statistics(
    module: nn.Module, batches: Iterable[np.ndarray], progress: Callable[[int], None] | None = None
) -> tuple[ActivationStatistics, ...]:
    """Run a model over images and describe the output of each of its layers, in the order they run.

    Args:
        module: The model; it is run in evaluation mode and left in the mode it was in.
        batches: Normalised images, float32 (N, 3, H, W), read one batch at a time.
        progress: Called after each batch with the number of images in it.

    Raises:
        DataError: EK208 when there are no images.
    """
    moments: dict[str, _Moments] = {}
    hooks = [
        layer.register_forward_hook(_recorder(name, moments))
        for name, layer in module.named_modules()
        if not any(layer.children()) and not isinstance(layer, _SILENT)
    ]
    training = module.training
    module.eval()
    done = 0
    try:
        with torch.inference_mode():
            for batch in batches:
                module(torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)))
                done += len(batch)
                if progress is not None:
                    progress(len(batch))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    if not done:
        raise DataError("EK208", "there are no images to run the model on", hint="give a folder or archive with images")
    return tuple(gathered.result(name) for name, gathered in moments.items())


def _recorder(name: str, moments: dict[str, _Moments]) -> Callable[[nn.Module, object, torch.Tensor], None]:
    def record(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        kind = layer_kind(layer)
        gathered = moments.setdefault(name, _Moments(type(layer).__name__ if kind == "other" else kind))
        for image in output:
            gathered.add(image)

    return record
