"""MobileNetV1: depthwise-separable convolutions (Howard et al. 2017, arXiv 1704.04861)."""

from __future__ import annotations

from torch import nn

from edgekit.models.blocks import ChannelChoice, MobileNet, StrideBudget, Style
from edgekit.spec import ModelSpec

STEM_CHANNELS = 32
# (output channels, stride) of each depthwise-separable block.
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
BN_EPS = 1e-5


def build(spec: ModelSpec) -> MobileNet:
    """Build MobileNetV1; channels are truncated to integers, at least 8, as the TF-Slim reference does."""
    style = Style(spec.padding, BN_EPS if spec.bn_eps is None else spec.bn_eps, conv_bias=spec.conv_bias)
    activation = nn.ReLU if spec.activation == "relu" else nn.ReLU6
    strides = StrideBudget(spec.stem_stride, spec.output_stride)
    choice = ChannelChoice(spec.channels)

    channels = choice.take(_scaled(STEM_CHANNELS, spec.width))
    blocks = [style.conv_block(3, channels, 3, spec.stem_stride, activation=activation)]
    for base, stride in BLOCKS:
        outputs = choice.take(_scaled(base, spec.width))
        depthwise = style.conv_block(channels, channels, 3, strides.take(stride), channels, activation)
        pointwise = style.conv_block(channels, outputs, activation=activation)
        blocks.append(nn.Sequential(*depthwise, *pointwise))
        channels = outputs
    choice.close()
    return MobileNet(nn.Sequential(*blocks), nn.Linear(channels, spec.num_classes))


def _scaled(channels: int, width: float) -> int:
    return max(8, int(channels * width))
