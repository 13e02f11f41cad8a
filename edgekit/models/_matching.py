"""Loading a checkpoint of any naming into a model: by structure, not by a list of known names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgekit.errors import ModelError
from edgekit.models._alignment import Alignment, align, is_sorted
from edgekit.models._inference import infer_spec
from edgekit.models._layers import Layer, Shape, group_layers

# Some five times the layers of the deepest model here; comparing the names of many more would take minutes.
_MOST_LAYERS = 700
_ORDER_HINT = "number the layers in the order they run, or save with torch.save, which keeps their order"


def match(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], *, description: str = "the model", where: str = ""
) -> dict[str, torch.Tensor]:
    """Find which tensor of a checkpoint belongs where in a model.

    Equal names are taken as they are. Else layers are matched by the order that their names imply and by
    their shapes; a 1x1 convolution may stand for a linear layer and the other way round.

    Args:
        module: The model, its layers registered in forward order; only names and shapes are read.
        tensors: Name to tensor, as `read_checkpoint` gives them.
        description: What to call the model in errors, e.g. `mobilenet_v1 width 0.5`.
        where: What to call the checkpoint in errors.

    Returns:
        A state_dict for `module` that `load_state_dict(strict=True)` takes; tensors are views of those given.

    Raises:
        ModelError: EK106 naming the first layer that does not fit, or one that could come from two places.
    """
    target = module.state_dict()
    wanted, found = group_layers(target), group_layers(tensors)
    mismatch = _Mismatch(target, tensors, wanted, found, description, where)
    by_name = {layer.name: layer for layer in found}
    if by_name.keys() == {layer.name for layer in wanted}:
        chosen = [by_name[layer.name] for layer in wanted]
        for layer, candidate in zip(wanted, chosen, strict=True):
            if not layer.fits(candidate):
                raise mismatch.misfit(layer, candidate)
    else:
        chosen = _align(wanted, found, tensors, mismatch)
    return _state_dict(target, wanted, chosen, tensors)


def _align(
    wanted: list[Layer], found: list[Layer], tensors: Mapping[str, torch.Tensor], mismatch: _Mismatch
) -> list[Layer]:
    if len(found) > _MOST_LAYERS:
        raise mismatch.error(f"the checkpoint has {len(found)} layers, {mismatch.description} has {len(wanted)}")
    alignment = align(wanted, found, file_order_tells=not is_sorted(list(tensors)))
    if len(alignment.assignments) == 1:
        return [found[index] for index in alignment.assignments[0]]
    if alignment.assignments:
        raise mismatch.ambiguous(alignment)
    raise mismatch.unaligned(alignment)


def _state_dict(
    target: Mapping[str, torch.Tensor],
    wanted: Sequence[Layer],
    chosen: Sequence[Layer],
    tensors: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    sources = {
        layer.names[field]: tensors[candidate.names[field]]
        for layer, candidate in zip(wanted, chosen, strict=True)
        for field in layer.names
    }
    # What is left in the target are counters of batches, which only matter when momentum is None.
    return {
        name: sources[name].reshape(tensor.shape) if name in sources else torch.zeros((), dtype=torch.long)
        for name, tensor in target.items()
    }


class _Mismatch:
    """Words for a checkpoint that does not fit."""

    def __init__(
        self,
        target: Mapping[str, torch.Tensor],
        tensors: Mapping[str, torch.Tensor],
        wanted: Sequence[Layer],
        found: Sequence[Layer],
        description: str,
        where: str,
    ) -> None:
        self.description = description
        self._target, self._tensors = target, tensors
        self._wanted, self._found = wanted, found
        self._where = where

    def error(self, what: str, hint: str = "") -> ModelError:
        return ModelError("EK106", what, where=self._where, hint=hint or self._hint())

    def misfit(self, layer: Layer, candidate: Layer) -> ModelError:
        """Say how a layer of the checkpoint differs from the one the model has in its place."""
        same_name = layer.name == candidate.name
        place = layer.name if same_name else f"{layer.name} ({candidate.name} in the checkpoint)"
        return self.error(f"{place}: {self._difference(layer, candidate)}", self._classes_hint(layer, candidate))

    def unaligned(self, alignment: Alignment) -> ModelError:
        """Say where the search came to an end."""
        if alignment.reach == len(self._wanted) and not alignment.left:
            return self.error("the names leave open which of its layers is which", _ORDER_HINT)
        if alignment.reach == len(self._wanted):
            extra = self._found[alignment.left[0]]
            contents = _contents(extra, self._tensors)
            return self.error(f"{extra.name}: the checkpoint has {contents}, {self.description} has no such layer")
        layer = self._wanted[alignment.reach]
        if not alignment.left:
            contents = _contents(layer, self._target)
            return self.error(f"{layer.name}: the checkpoint has nothing for it, {self.description} has {contents}")
        candidates = [self._found[index] for index in alignment.left]
        return self.misfit(layer, max(candidates, key=lambda candidate: _likeness(layer, candidate)))

    def ambiguous(self, alignment: Alignment) -> ModelError:
        """Name a layer that could come from two places."""
        position = alignment.conflict
        layer = self._wanted[position].name
        one, other = (self._found[assignment[position]].name for assignment in alignment.assignments[:2])
        return self.error(
            f"{layer}: it could be {one} or {other} of the checkpoint, the names do not say which",
            _ORDER_HINT,
        )

    def _difference(self, layer: Layer, candidate: Layer) -> str:
        theirs, ours = "the checkpoint has", f"{self.description} has"
        if layer.kind != candidate.kind:
            return f"{theirs} {_contents(candidate, self._tensors)}, {ours} {_contents(layer, self._target)}"
        for field, name in layer.names.items():
            wanted = _shape(self._target[name])
            if field not in candidate.names:
                return f"{theirs} no {field}, {ours} one of {wanted}"
            if layer.shapes[field] != candidate.shapes[field]:
                return f"{theirs} {_shape(self._tensors[candidate.names[field]])}, {ours} {wanted}"
        for field, name in candidate.names.items():
            if field not in layer.names:
                return f"{theirs} a {field} of {_shape(self._tensors[name])}, {ours} none"
        return "its shape fits, but its name says that it runs at another place"

    def _classes_hint(self, layer: Layer, candidate: Layer) -> str:
        last = [each for each in self._wanted if each.kind == "weight"][-1]
        same_inputs = len(candidate.weight) == 2 and candidate.weight[1:] == layer.weight[1:]
        if layer is last and same_inputs and candidate.weight[0] != layer.weight[0]:
            return f"give --num-classes {candidate.weight[0]}"
        return ""

    def _hint(self) -> str:
        try:
            spec = infer_spec(self._tensors)
        except ModelError:
            return "check --arch, --width and --num-classes"
        return f"give --arch {spec.architecture} --width {spec.width:g} --num-classes {spec.num_classes}"


def _contents(layer: Layer, tensors: Mapping[str, torch.Tensor]) -> str:
    kind = "a batch normalisation" if layer.kind == "norm" else "a layer"
    field = "weight" if "weight" in layer.names else next(iter(layer.names))
    return f"{kind} with {field} {_shape(tensors[layer.names[field]])}"


def _shape(tensor: torch.Tensor) -> Shape:
    return tuple(tensor.shape)


def _likeness(layer: Layer, candidate: Layer) -> tuple[bool, bool, int]:
    """How much a layer of the checkpoint looks like the one that was wanted: kind, rank, equal dimensions."""
    one, other = layer.weight, candidate.weight
    equal = sum(first == second for first, second in zip(one, other, strict=False))
    return layer.kind == candidate.kind, len(one) == len(other), equal
