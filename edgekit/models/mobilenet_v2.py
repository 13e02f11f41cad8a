"""MobileNetV2: inverted residuals with linear bottlenecks (Sandler et al. 2018, arXiv 1801.04381)."""

from __future__ import annotations

import torch
from torch import nn

from edgekit.models.blocks import ChannelChoice, MobileNet, StrideBudget, Style, round_channels
from edgekit.spec import ModelSpec

STEM_CHANNELS = 32
# (expansion t, output channels c, repeats n, stride s) of each stage.
STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
HEAD_CHANNELS = 1280
BN_EPS = 1e-5


class InvertedResidual(nn.Module):
    """Expand 1x1 unless `hidden` is None, depthwise 3x3, project 1x1 without activation; `residual` adds the input."""

    def __init__(
        self, style: Style, inputs: int, hidden: int | None, outputs: int, stride: int, residual: bool
    ) -> None:
        super().__init__()
        expand = [] if hidden is None else [style.conv_block(inputs, hidden, activation=nn.ReLU6)]
        hidden = hidden or inputs
        depthwise = style.conv_block(hidden, hidden, 3, stride, hidden, nn.ReLU6)
        self.conv = nn.Sequential(*expand, depthwise, *style.conv_block(hidden, outputs))
        self.residual = residual

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        result: torch.Tensor = self.conv(images)
        return images + result if self.residual else result


def build(spec: ModelSpec) -> MobileNet:
    """Build MobileNetV2; the head never has fewer than 1280 channels, as in the paper."""
    style = Style(spec.padding, BN_EPS if spec.bn_eps is None else spec.bn_eps)
    strides = StrideBudget(spec.stem_stride, spec.output_stride)
    choice = ChannelChoice(spec.channels)

    # What the architecture gives decides which blocks there are; what pruning left decides how wide they are.
    given = round_channels(STEM_CHANNELS * spec.width)
    channels = choice.take(given)
    blocks: list[nn.Module] = [style.conv_block(3, channels, 3, spec.stem_stride, activation=nn.ReLU6)]
    for expansion, base, repeats, first_stride in STAGES:
        given_outputs = round_channels(base * spec.width)
        for stride in (first_stride, *[1] * (repeats - 1)):
            # By the table's stride: one that `output_stride` turned into 1 still begins a stage, without a residual.
            residual = stride == 1 and given == given_outputs
            hidden = choice.take(given * expansion) if expansion != 1 else None
            outputs = choice.take(given_outputs)
            if residual:
                choice.same(channels, outputs)
            blocks.append(InvertedResidual(style, channels, hidden, outputs, strides.take(stride), residual))
            given, channels = given_outputs, outputs
    head = choice.take(round_channels(HEAD_CHANNELS * max(1.0, spec.width)))
    blocks.append(style.conv_block(channels, head, activation=nn.ReLU6))
    choice.close()
    return MobileNet(nn.Sequential(*blocks), nn.Sequential(nn.Dropout(0.2), nn.Linear(head, spec.num_classes)))
