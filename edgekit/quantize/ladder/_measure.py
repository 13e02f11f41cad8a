"""What the ladder measures: distance from the float answers, and ranges of activations."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
import torch.nn.functional as F

from edgekit.quantize._graph import name_of
from edgekit.quantize._plan import Plan
from edgekit.quantize.ladder._network import Network, Planned
from edgekit.spec import Range


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far a plan's answers are from the float ones.

    Attributes:
        kl: Mean Kullback-Leibler divergence of the class probabilities, in nats.
        agreement: Share of images with the same best class, in percent.
    """

    kl: float
    agreement: float


def answers(network: Network, images: torch.Tensor, plan: Plan | None = None) -> torch.Tensor:
    """Return the logits (N, classes) of all images."""
    rounding = None if plan is None else Planned(plan)
    return torch.cat([network.run(part, rounding).flatten(1) for part in torch.split(images, network.chunk)])


def distance(reference: torch.Tensor, logits: torch.Tensor) -> Distance:
    """Compare logits (N, classes) with reference logits."""
    first, second = reference.double().log_softmax(1), logits.double().log_softmax(1)
    kl = F.kl_div(second, first, reduction="batchmean", log_target=True).item()
    return Distance(max(kl, 0.0), 100 * (reference.argmax(1) == logits.argmax(1)).double().mean().item())


@dataclasses.dataclass(frozen=True)
class Observed:
    """What the float network's activations come to on some images.

    Attributes:
        ranges: Smallest and largest value of each tensor.
        magnitudes: Largest magnitude of each channel (axis 1) of each tensor, float32.
    """

    ranges: dict[str, Range]
    magnitudes: dict[str, npt.NDArray[np.float32]]


def observe(network: Network, images: torch.Tensor, tensors: Collection[str]) -> Observed:
    """Run the images in float and look at the named tensors."""
    ranges: dict[str, Range] = {}
    magnitudes: dict[str, npt.NDArray[np.float32]] = {}

    def watch(value: ir.Value, tensor: torch.Tensor) -> None:
        name = name_of(value)
        if name not in tensors:
            return
        low, high = float(tensor.min()), float(tensor.max())
        seen = ranges.get(name, Range(low, high))
        ranges[name] = Range(min(seen.low, low), max(seen.high, high))
        if tensor.ndim >= 2:
            channels = tensor.abs().transpose(0, 1).flatten(1).max(1).values.numpy()
            magnitudes[name] = np.maximum(magnitudes.get(name, channels), channels)

    for part in torch.split(images, network.chunk):
        network.run(part, watch=watch)
    return Observed(ranges, magnitudes)
