"""Which channels belong together, what they cost, and taking some of them out."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch_pruning
from torch import nn

from edgekit.errors import PruningError
from edgekit.models import MobileNet, build, channels_of, choosing_layers, profile
from edgekit.spec import ModelSpec


@dataclasses.dataclass(frozen=True)
class ChannelGroup:
    """Layers whose output channels stay or go together, because a residual connection adds them.

    Attributes:
        name: Name of the first of them.
        layers: Names of all of them.
        norms: Names of the batch normalisations over these channels, those of depthwise layers included.
        channels: How many channels they have.
    """

    name: str
    layers: tuple[str, ...]
    norms: tuple[str, ...]
    channels: int


@dataclasses.dataclass(frozen=True)
class LayerShape:
    """One layer, as far as its cost depends on channels.

    Attributes:
        name: Name of the module.
        inputs: Position of the group that its input channels belong to; None for the image.
        outputs: Position of the group that its output channels belong to; None for the logits.
        depthwise: Input and output channels are the same ones, each convolved by itself.
        kernel: Weights of one input channel for one output channel, e.g. 9 for 3x3.
        positions: Output pixels.
        stride: Step from one output pixel to the next, in input pixels.
        fixed: Channels on the side that has no group: 3 of an image, or the number of classes.
        per_output: Parameters an output channel has besides weights: bias and batch normalisation.
    """

    name: str
    inputs: int | None
    outputs: int | None
    depthwise: bool
    kernel: int
    positions: int
    stride: int
    fixed: int
    per_output: int

    def sides(self, channels: Sequence[int]) -> tuple[int, int]:
        """Return input and output channels when group i has `channels[i]` channels."""
        inputs = self.fixed if self.inputs is None else channels[self.inputs]
        outputs = self.fixed if self.outputs is None else channels[self.outputs]
        return inputs, outputs

    def weights(self, channels: Sequence[int]) -> int:
        """Count weights when group i has `channels[i]` channels."""
        inputs, outputs = self.sides(channels)
        return self.kernel * outputs * (1 if self.depthwise else inputs)

    def parameters(self, channels: Sequence[int]) -> int:
        """Count parameters when group i has `channels[i]` channels."""
        return self.weights(channels) + self.per_output * self.sides(channels)[1]


@dataclasses.dataclass(frozen=True)
class Structure:
    """The channel groups of a model and the layers whose cost they decide."""

    groups: tuple[ChannelGroup, ...]
    layers: tuple[LayerShape, ...]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each group now."""
        return tuple(group.channels for group in self.groups)

    def macs(self, channels: Sequence[int]) -> int:
        """Count multiply-adds of one image when group i has `channels[i]` channels."""
        return sum(layer.weights(channels) * layer.positions for layer in self.layers)

    def parameters(self, channels: Sequence[int]) -> int:
        """Count parameters when group i has `channels[i]` channels."""
        return sum(layer.parameters(channels) for layer in self.layers)


def structure(module: MobileNet, input_size: int) -> Structure:
    """Find the channel groups of a model by following its computation (Fang et al. 2023, DepGraph, arXiv 2301.12900).

    Raises:
        PruningError: EK801 when the model cannot be followed.
    """
    graph = _dependencies(module, input_size)
    names = {layer: name for name, layer in module.named_modules()}
    groups: list[ChannelGroup] = []
    ends: dict[str, dict[str, int]] = {"in": {}, "out": {}}
    for layer in choosing_layers(module):
        if names[layer] in ends["out"]:
            continue
        norms = []
        for dependency, _ in _members(graph, layer, range(_outputs(layer))):
            target = dependency.target.module
            if isinstance(target, nn.BatchNorm2d):
                norms.append(names[target])
            elif isinstance(target, (nn.Conv2d, nn.Linear)):
                end = "out" if graph.is_out_channel_pruning_fn(dependency.handler) else "in"
                ends[end][names[target]] = len(groups)
        chosen = tuple(
            names[other] for other in choosing_layers(module) if ends["out"].get(names[other]) == len(groups)
        )
        groups.append(ChannelGroup(names[layer], chosen, tuple(dict.fromkeys(norms)), _outputs(layer)))
    return Structure(tuple(groups), _shapes(module, input_size, ends))


def library_groups(module: MobileNet, parts: Structure, input_size: int) -> list[torch_pruning.Group]:
    """Return torch-pruning's own view of each group, whole, which its measures of importance take."""
    graph = _dependencies(module, input_size)
    return [_members(graph, module.get_submodule(group.name), range(group.channels)) for group in parts.groups]


def remove(module: MobileNet, spec: ModelSpec, kept: Mapping[str, Sequence[int]]) -> tuple[MobileNet, ModelSpec]:
    """Take channels out of a model.

    Args:
        module: Model; stays as it is.
        spec: Its description.
        kept: Name of a group to the indices of the channels that stay; groups that are not named keep all.

    Returns:
        A model of its own in eval mode, built from its own description, and that description.

    Raises:
        PruningError: EK801 when the model cannot be followed, EK803 when a group would be left without a channel.
    """
    shadow = copy.deepcopy(module).eval()
    graph = _dependencies(shadow, spec.input_size)
    for name, indices in kept.items():
        layer = shadow.get_submodule(name)
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        if not indices:
            raise PruningError("EK803", "no channel of the layer would be left", where=name, hint="take a larger ratio")
        gone = sorted(set(range(_outputs(layer))) - set(indices))
        if gone:
            _members(graph, layer, gone).prune()
    smaller = dataclasses.replace(spec, channels=channels_of(shadow))
    with torch.random.fork_rng(devices=[]):
        result = build(smaller)
    result.load_state_dict(shadow.state_dict())
    return result.eval(), smaller


def _dependencies(module: MobileNet, input_size: int) -> torch_pruning.DependencyGraph:
    example = torch.zeros(1, 3, input_size, input_size)
    try:
        with torch.enable_grad():
            return torch_pruning.DependencyGraph().build_dependency(module.eval(), example_inputs=example)
    except Exception as error:  # Tracing runs the model and walks its autograd graph: any error may come of it.
        raise PruningError(
            "EK801",
            f"the channels of the model cannot be followed: {error}",
            hint="prune a MobileNet that edgekit builds, from its checkpoint",
        ) from error


def _members(graph: torch_pruning.DependencyGraph, layer: nn.Module, indices: Iterable[int]) -> torch_pruning.Group:
    convolution = isinstance(layer, nn.Conv2d)
    pruner = torch_pruning.prune_conv_out_channels if convolution else torch_pruning.prune_linear_out_channels
    return graph.get_pruning_group(layer, pruner, idxs=list(indices))


def _outputs(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features


def _shapes(module: MobileNet, input_size: int, ends: dict[str, dict[str, int]]) -> tuple[LayerShape, ...]:
    shapes = []
    for row in profile(module, input_size).layers:
        layer = module.get_submodule(row.name)
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        depthwise = row.kind == "depthwise"
        kernel = layer.kernel_size[0] * layer.kernel_size[1] if isinstance(layer, nn.Conv2d) else 1
        stride = layer.stride[0] if isinstance(layer, nn.Conv2d) else 1
        positions = row.output_shape[1] * row.output_shape[2] if len(row.output_shape) == 3 else 1
        outputs = ends["out"].get(row.name)
        inputs = outputs if depthwise else ends["in"].get(row.name)
        fixed = 3 if inputs is None else _outputs(layer)
        others = row.parameters - layer.weight.numel()
        shapes.append(
            LayerShape(
                row.name, inputs, outputs, depthwise, kernel, positions, stride, fixed, others // _outputs(layer)
            )
        )
    return tuple(shapes)
