"""Seeing a flat mapping of tensors as layers: names cut into a path and a field, shapes in one form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch

Kind = Literal["weight", "norm"]
Shape = tuple[int, ...]

# What other frameworks call the fields of a batch normalisation.
_FIELD_ALIASES = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
    "moving_variance": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """The tensors that share one prefix.

    Attributes:
        name: The prefix, e.g. `features.3.1`.
        kind: `norm` for a batch normalisation, `weight` for a convolution or linear layer.
        names: Field (`weight`, `bias`, `running_mean`, `running_var`, …) to the name of its tensor.
        shapes: Field to the shape of its tensor, in canonical form.
    """

    name: str
    kind: Kind
    names: Mapping[str, str]
    shapes: Mapping[str, Shape]

    @property
    def path(self) -> tuple[str, ...]:
        """The name, component by component."""
        return tuple(self.name.split("."))

    @property
    def weight(self) -> Shape:
        """Shape of the weight; empty when there is none."""
        return self.shapes.get("weight", ())

    def fits(self, other: Layer) -> bool:
        """Whether both hold the same fields in the same shapes."""
        return self.kind == other.kind and self.shapes == other.shapes


def canonical(shape: Shape) -> Shape:
    """Return the shape without a 1x1 kernel: such a convolution holds the same numbers as a linear layer."""
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def group_layers(tensors: Mapping[str, torch.Tensor]) -> list[Layer]:
    """Group tensors into layers by their common prefix, in the order in which the layers first appear."""
    fields: dict[str, dict[str, str]] = {}
    for name in tensors:
        prefix, _, field = name.rpartition(".")
        if field == "num_batches_tracked":
            continue
        names = fields.setdefault(prefix, {})
        alias = _FIELD_ALIASES.get(field, field)
        names[field if alias in names else alias] = name
    return [_layer(prefix, names, tensors) for prefix, names in fields.items()]


def _layer(prefix: str, names: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> Layer:
    shapes = {field: canonical(tuple(tensors[name].shape)) for field, name in names.items()}
    kind: Kind = "norm" if "running_mean" in shapes or len(shapes.get("weight", ())) == 1 else "weight"
    return Layer(prefix, kind, names, shapes)
