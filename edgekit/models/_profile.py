"""What a model costs, layer by layer: parameters, multiply-adds, bytes of activations."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Literal

import torch
from torch import nn

LayerKind = Literal["standard", "depthwise", "pointwise", "grouped", "linear", "other"]

_FLOAT32_BYTES = 4


@dataclasses.dataclass(frozen=True)
class SeparableCost:
    """A depthwise-separable convolution against the standard one of the same shape.

    Source: Howard et al. 2017, arXiv 1704.04861, section 3.1.

    Attributes:
        standard: Multiply-adds of the standard convolution, D_K² M N D_F².
        depthwise: Multiply-adds of the depthwise half, D_K² M D_F².
        pointwise: Multiply-adds of the pointwise half, M N D_F².
    """

    standard: int
    depthwise: int
    pointwise: int

    @property
    def separable(self) -> int:
        """Multiply-adds of both halves."""
        return self.depthwise + self.pointwise

    @property
    def ratio(self) -> float:
        """Separable over standard: 1/N + 1/D_K²."""
        return self.separable / self.standard


def separable_cost(in_channels: int, out_channels: int, kernel_size: int = 3, positions: int = 1) -> SeparableCost:
    """Count multiply-adds at `positions` output pixels; at one pixel they equal the weights."""
    depthwise = kernel_size**2 * in_channels * positions
    return SeparableCost(depthwise * out_channels, depthwise, in_channels * out_channels * positions)


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """The cost of one layer for one image.

    Attributes:
        name: Name of the module.
        kind: What sort of layer it is.
        output_shape: Shape of the output without the batch axis.
        parameters: Trainable parameters, with those of the batch normalisation that follows.
        macs: Multiply-adds (biases and batch normalisation are not counted).
        activation_bytes: Size of the output as float32.
        standard_macs: Multiply-adds if each depthwise convolution and the pointwise one after it were one
            standard convolution: its cost at the depthwise layer, 0 at its partner; elsewhere `macs`.
    """

    name: str
    kind: LayerKind
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    activation_bytes: int
    standard_macs: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """The cost of a model for one square image of `input_size` pixels, its layers in the order they run."""

    input_size: int
    layers: tuple[LayerProfile, ...]

    @property
    def parameters(self) -> int:
        """Trainable parameters of all layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of all layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs as float32, as if none were reused."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def standard_macs(self) -> int:
        """Multiply-adds of the same network made of standard convolutions."""
        return sum(layer.standard_macs for layer in self.layers)


@dataclasses.dataclass
class _Call:
    """One run of a layer, as the hooks see it."""

    name: str
    module: nn.Module
    input_shape: torch.Size
    output_shape: torch.Size
    parameters: int
    normalised: bool = False


def layer_kind(module: nn.Module) -> LayerKind:
    """Return what sort of layer a module is."""
    if isinstance(module, nn.Linear):
        return "linear"
    if not isinstance(module, nn.Conv2d):
        return "other"
    if module.groups == 1:
        return "pointwise" if module.kernel_size == (1, 1) else "standard"
    return "depthwise" if module.groups == module.in_channels == module.out_channels else "grouped"


def profile(module: nn.Module, input_size: int) -> Profile:
    """Count what one image costs, from the shapes that a blank image has on its way; the module is not changed.

    Args:
        module: A model that takes float32 (N, 3, H, W).
        input_size: Height and width in pixels.

    Returns:
        One row for each convolution and linear layer, and for any other layer that has parameters of its own.
        A batch normalisation counts to the layer before it, into which it folds at inference.
    """
    calls = _trace(module, input_size)
    return Profile(
        input_size,
        tuple(_layer(call, standard) for call, standard in zip(calls, _standard(calls), strict=True)),
    )


def _trace(module: nn.Module, input_size: int) -> list[_Call]:
    # Run for real, on zeros: the meta device, which computes shapes alone, takes longer, and seconds the first time.
    shadow = copy.deepcopy(module).eval()
    device = next(shadow.parameters()).device
    calls: list[_Call] = []

    def record(name: str, layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        if isinstance(layer, nn.BatchNorm2d) and calls:
            calls[-1].parameters += parameters
            calls[-1].normalised = True
        elif parameters:
            calls.append(_Call(name, layer, inputs[0].shape, output.shape, parameters))

    for name, layer in shadow.named_modules():
        layer.register_forward_hook(lambda layer, inputs, output, name=name: record(name, layer, inputs, output))
    with torch.no_grad():
        shadow(torch.zeros(1, 3, input_size, input_size, device=device))
    return calls


def _layer(call: _Call, standard_macs: int) -> LayerProfile:
    return LayerProfile(
        call.name,
        layer_kind(call.module),
        tuple(call.output_shape[1:]),
        call.parameters,
        _macs(call),
        math.prod(call.output_shape[1:]) * _FLOAT32_BYTES,
        standard_macs,
    )


def _macs(call: _Call) -> int:
    if isinstance(call.module, nn.Conv2d):
        inputs_per_output = math.prod(call.module.kernel_size) * call.module.in_channels // call.module.groups
        return math.prod(call.output_shape[1:]) * inputs_per_output
    if isinstance(call.module, nn.Linear):
        return math.prod(call.output_shape[1:]) * call.module.in_features
    return 0


def _standard(calls: list[_Call]) -> list[int]:
    """Multiply-adds of each layer once depthwise and pointwise pairs are one standard convolution."""
    costs = [_macs(call) for call in calls]
    for index in range(len(calls)):
        partner = _pointwise_partner(calls, index)
        if partner is not None:
            # D_K² M D_F² of the depthwise half, for each of the N output channels.
            costs[index] *= calls[partner].output_shape[1]
            costs[partner] = 0
    return costs


def _pointwise_partner(calls: list[_Call], index: int) -> int | None:
    """The pointwise convolution that a depthwise one feeds, past any squeeze-and-excitation."""
    if layer_kind(calls[index].module) != "depthwise":
        return None
    for later in range(index + 1, len(calls)):
        call = calls[later]
        pooled = call.input_shape[2:] == (1, 1) and not call.normalised
        if not pooled:
            fed = layer_kind(call.module) == "pointwise" and call.input_shape[1:] == calls[index].output_shape[1:]
            return later if fed else None
    return None
