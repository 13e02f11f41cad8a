"""Telling architecture, width and class count from the shapes of a checkpoint that does not say."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from edgekit.errors import ModelError
from edgekit.models import registry
from edgekit.models._layers import Layer, Shape, group_layers
from edgekit.spec import ModelSpec

# V2 rounds a block's channels to 8, then expands them six-fold: no layer is further off its exact share.
_LARGEST_ROUNDING = 8 * 6

# Of one grid of widths: the nearest dozen on either side, each of which has to be built.
_MOST_TRIES = 24


def infer_spec(tensors: Mapping[str, torch.Tensor], *, where: str = "") -> ModelSpec:
    """Infer the description of a model from the shapes of its tensors; names play no part.

    Architecture, width, class count and conv_bias come from the shapes. Padding, strides, input size, activation
    and epsilon leave no trace there and are the defaults.

    Args:
        tensors: Name to tensor, as `read_checkpoint` gives them.
        where: What to call the checkpoint in errors.

    Raises:
        ModelError: EK105 when the layers are those of no architecture, or their channels of no width.
    """
    layers = group_layers(tensors)
    structure = _structure(layers)
    known = {name: _at_full_width(name) for name in registry.names()}
    for name, reference in known.items():
        if _structure(reference) != structure:
            continue
        for width in _widths(name, reference, layers):
            spec = _fit(ModelSpec(name, width), layers)
            if spec is not None:
                return spec
        raise ModelError(
            "EK105",
            f"its layers are those of {name}, but no width multiplier gives their channels",
            where=where,
            hint="give --arch and --width, or for pruned channels the file that edgekit prune wrote",
        )
    raise ModelError(
        "EK105",
        "its layers are those of no architecture that edgekit knows",
        where=where,
        hint=f"give --arch, one of {', '.join(known)}",
    )


@functools.cache
def _at_full_width(name: str) -> tuple[Layer, ...]:
    return tuple(_model_layers(ModelSpec(name)))


def _model_layers(spec: ModelSpec) -> list[Layer]:
    with torch.device("meta"):
        return group_layers(registry.build(spec).state_dict())


def _structure(layers: Sequence[Layer]) -> Counter[str]:
    """Count layers by what a width or class count does not change."""
    return Counter("norm" if layer.kind == "norm" else _role(layer.weight) for layer in layers)


def _role(weight: Shape) -> str:
    if len(weight) == 2:
        return "pointwise or linear"
    return (
        f"depthwise {weight[2:]}"
        if _is_depthwise(weight)
        else f"convolution {weight[1:]}"
        if len(weight) == 4
        else "other"
    )


def _is_depthwise(weight: Shape) -> bool:
    return len(weight) == 4 and weight[1] == 1


def _widths(name: str, reference: Sequence[Layer], layers: Sequence[Layer]) -> Iterator[float]:
    """Yield the widths worth trying, likeliest first: published, of two decimals, of three."""
    # Widths change every channel count the same way, so the sorted counts still correspond.
    pairs = list(zip(_depthwise_channels(reference), _depthwise_channels(layers), strict=True))
    low = max((channels - _LARGEST_ROUNDING) / base for base, channels in pairs)
    high = min((channels + _LARGEST_ROUNDING) / base for base, channels in pairs)
    likely = statistics.median(channels / base for base, channels in pairs[len(pairs) // 2 :])
    grids = (registry.FAMILIES[name].widths, _steps(low, high, 100), _steps(low, high, 1000))
    tried: set[float] = set()
    for grid in grids:
        nearest = sorted((width for width in grid if low <= width <= high), key=lambda width: abs(width - likely))
        for width in nearest[:_MOST_TRIES]:
            if width not in tried:
                tried.add(width)
                yield width


def _steps(low: float, high: float, per_unit: int) -> list[float]:
    return [step / per_unit for step in range(max(1, round(low * per_unit)), round(high * per_unit) + 1)]


def _depthwise_channels(layers: Sequence[Layer]) -> list[int]:
    return sorted(layer.weight[0] for layer in layers if _is_depthwise(layer.weight))


def _fit(spec: ModelSpec, layers: Sequence[Layer]) -> ModelSpec | None:
    """Complete a description with class count and conv_bias; None when it does not have these shapes."""
    reference = _model_layers(spec)
    classifier = [layer for layer in reference if layer.kind == "weight"][-1]
    left = _shapes(layers) - _shapes(layer for layer in reference if layer is not classifier)
    if left.total() != 1:
        return None
    (shape,) = left
    if len(shape) != 2 or shape[1] != classifier.weight[1]:
        return None
    conv_bias = spec.architecture == "mobilenet_v1" and _biases(layers) > _biases(reference)
    return dataclasses.replace(spec, num_classes=shape[0], conv_bias=conv_bias)


def _shapes(layers: Iterable[Layer]) -> Counter[Shape]:
    return Counter(layer.weight for layer in layers)


def _biases(layers: Sequence[Layer]) -> int:
    return sum(layer.kind == "weight" and "bias" in layer.shapes for layer in layers)
