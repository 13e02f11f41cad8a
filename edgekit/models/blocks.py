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
        height = _same_padding(input.shape[-2], self.kernel_size[0], self.stride[0])
        width = _same_padding(input.shape[-1], self.kernel_size[1], self.stride[1])
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
