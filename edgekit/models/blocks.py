"""Building blocks that the MobileNet families share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.spec import Padding


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of `divisor`, never below 90 % of `channels` (MobileNetV2 reference code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


class SamePadConv2d(nn.Conv2d):
    """Convolution that pads as TensorFlow's SAME does: the odd pixel goes right and bottom.

    Source: tensorflow.org/api_docs/python/tf/nn, "Notes on padding".
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name nn.Module gives it)
        """Convolve (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        # While torch traces, a size is a tensor, and the graph would compute the padding of every frame anew.
        height = _same_padding(int(input.shape[-2]), self.kernel_size[0], self.stride[0])
        width = _same_padding(int(input.shape[-1]), self.kernel_size[1], self.stride[1])
        padded = F.pad(input, (*width, *height))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@dataclasses.dataclass(frozen=True)
class Style:
    """What all convolutions of one model have in common."""

    padding: Padding
    bn_eps: float
    bn_momentum: float = 0.1
    conv_bias: bool = False

    def conv(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        """Make a convolution that keeps the image size, apart from the stride."""
        # With an odd kernel SAME differs from symmetric padding only where the stride is above 1.
        if self.padding == "tf_same" and stride > 1:
            return SamePadConv2d(inputs, outputs, kernel, stride, 0, groups=groups, bias=self.conv_bias)
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=self.conv_bias)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Make the batch normalisation that follows a convolution."""
        return nn.BatchNorm2d(channels, eps=self.bn_eps, momentum=self.bn_momentum)

    def conv_block(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[[], nn.Module] | None = None,
    ) -> nn.Sequential:
        """Make convolution, batch normalisation and, when given, an activation."""
        modules = [self.conv(inputs, outputs, kernel, stride, groups), self.norm(outputs)]
        return nn.Sequential(*modules, *([activation()] if activation else []))


class StrideBudget:
    """Turns strides into 1 once the output stride that was asked for is reached (as TF-Slim's `output_stride`)."""

    def __init__(self, stem_stride: int, output_stride: int | None) -> None:
        self._current = stem_stride
        self._limit = output_stride

    def take(self, stride: int) -> int:
        """Return `stride`, or 1 if taking it would exceed the limit."""
        if self._limit is not None and self._current * stride > self._limit:
            return 1
        self._current *= stride
        return stride


class SqueezeExcitation(nn.Module):
    """Scale each channel by what a small network with `squeezed` channels makes of all channels' means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape."""
        scale: torch.Tensor = self.gate(self.expand(self.activation(self.reduce(self.pool(images)))))
        return images * scale


class ChannelError(ValueError):
    """Channels that do not fit an architecture."""


class ChannelChoice:
    """Hands out the channels of each layer that chooses them: what pruning left, else what the architecture gives.

    A depthwise layer and the second layer of a squeeze-and-excitation do not choose: they follow the layer before.

    Args:
        channels: Channels of each layer that chooses, in order; None takes the architecture's.
    """

    def __init__(self, channels: tuple[int, ...] | None) -> None:
        self._channels = channels
        self.taken: tuple[int, ...] = ()

    def take(self, default: int) -> int:
        """Return the channels of the next layer; raises ChannelError when there are too few."""
        position = len(self.taken)
        if self._channels is not None and position >= len(self._channels):
            raise ChannelError(f"channels for {len(self._channels)} layers, the architecture has more")
        self.taken += (default if self._channels is None else self._channels[position],)
        return self.taken[-1]

    def close(self) -> None:
        """Raise ChannelError when there are more channels than layers."""
        if self._channels is not None and len(self._channels) != len(self.taken):
            raise ChannelError(f"channels for {len(self._channels)} layers, the architecture has {len(self.taken)}")

    @staticmethod
    def same(inputs: int, outputs: int) -> None:
        """Raise ChannelError when a residual connection would add tensors of different channels."""
        if inputs != outputs:
            raise ChannelError(f"a residual connection adds {inputs} channels to {outputs}")


class MobileNet(nn.Module):
    """Features, global average pool, classifier: the frame of every family.

    Takes float32 (N, 3, H, W), returns logits (N, num_classes).
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of a batch of images."""
        logits: torch.Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


def choosing_layers(module: MobileNet) -> tuple[nn.Conv2d | nn.Linear, ...]:
    """Return the layers that choose their channels, in the order in which `ChannelChoice` hands them out."""
    followers = {layer.expand for layer in module.modules() if isinstance(layer, SqueezeExcitation)}
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    stem, last = layers[0], layers[-1]
    # Apart from the stem, a kernel above 1x1 is that of a depthwise layer.
    pointwise = [layer for layer in layers[1:-1] if isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1)]
    assert isinstance(last, nn.Linear)
    return (stem, *(layer for layer in pointwise if layer not in followers))


def channels_of(module: MobileNet) -> tuple[int, ...]:
    """Return the channels that `ModelSpec.channels` holds for a module of these sizes."""
    layers = choosing_layers(module)
    return tuple(layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features for layer in layers)
