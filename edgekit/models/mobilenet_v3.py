"""MobileNetV3-Large and -Small: squeeze-and-excitation and hard-swish (Howard et al. 2019, arXiv 1905.02244)."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from edgekit.models.blocks import MobileNet, StrideBudget, Style, round_channels
from edgekit.spec import ModelSpec

STEM_CHANNELS = 16
BN_EPS = 1e-3
BN_MOMENTUM = 0.01


@dataclasses.dataclass(frozen=True)
class Row:
    """One bottleneck as the paper's tables give it, before the width multiplier."""

    expanded: int
    outputs: int
    kernel: int
    stride: int
    squeeze: bool
    hard_swish: bool


LARGE = (
    Row(16, 16, 3, 1, False, False),
    Row(64, 24, 3, 2, False, False),
    Row(72, 24, 3, 1, False, False),
    Row(72, 40, 5, 2, True, False),
    Row(120, 40, 5, 1, True, False),
    Row(120, 40, 5, 1, True, False),
    Row(240, 80, 3, 2, False, True),
    Row(200, 80, 3, 1, False, True),
    Row(184, 80, 3, 1, False, True),
    Row(184, 80, 3, 1, False, True),
    Row(480, 112, 3, 1, True, True),
    Row(672, 112, 3, 1, True, True),
    Row(672, 160, 5, 2, True, True),
    Row(960, 160, 5, 1, True, True),
    Row(960, 160, 5, 1, True, True),
)
SMALL = (
    Row(16, 16, 3, 2, True, False),
    Row(72, 24, 3, 2, False, False),
    Row(88, 24, 3, 1, False, False),
    Row(96, 40, 5, 2, True, True),
    Row(240, 40, 5, 1, True, True),
    Row(240, 40, 5, 1, True, True),
    Row(120, 48, 5, 1, True, True),
    Row(144, 48, 5, 1, True, True),
    Row(288, 96, 5, 2, True, True),
    Row(576, 96, 5, 1, True, True),
    Row(576, 96, 5, 1, True, True),
)


class SqueezeExcitation(nn.Module):
    """Scale each channel by what a small network makes of all channels' means (a quarter, rounded to 8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = round_channels(channels / 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape."""
        scale: torch.Tensor = self.gate(self.expand(self.activation(self.reduce(self.pool(images)))))
        return images * scale


class Bottleneck(nn.Module):
    """Expand, depthwise, squeeze-and-excitation where the table says so, project; residual as in MobileNetV2."""

    def __init__(self, style: Style, inputs: int, row: Row, stride: int) -> None:
        super().__init__()
        activation = nn.Hardswish if row.hard_swish else nn.ReLU
        parts: list[nn.Module] = []
        if row.expanded != inputs:
            parts.append(style.conv_block(inputs, row.expanded, activation=activation))
        parts.append(style.conv_block(row.expanded, row.expanded, row.kernel, stride, row.expanded, activation))
        if row.squeeze:
            parts.append(SqueezeExcitation(row.expanded))
        parts.append(style.conv_block(row.expanded, row.outputs))
        self.block = nn.Sequential(*parts)
        # By the table's stride: one that `output_stride` turned into 1 still begins a stage, without a residual.
        self.residual = row.stride == 1 and inputs == row.outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C', H / stride, W / stride)."""
        result: torch.Tensor = self.block(images)
        return images + result if self.residual else result


def build_large(spec: ModelSpec) -> MobileNet:
    """Build MobileNetV3-Large."""
    return _build(spec, LARGE, last_channels=1280)


def build_small(spec: ModelSpec) -> MobileNet:
    """Build MobileNetV3-Small."""
    return _build(spec, SMALL, last_channels=1024)


def _build(spec: ModelSpec, rows: tuple[Row, ...], last_channels: int) -> MobileNet:
    style = Style(spec.padding, BN_EPS if spec.bn_eps is None else spec.bn_eps, BN_MOMENTUM)
    strides = StrideBudget(spec.stem_stride, spec.output_stride)

    channels = round_channels(STEM_CHANNELS * spec.width)
    blocks: list[nn.Module] = [style.conv_block(3, channels, 3, spec.stem_stride, activation=nn.Hardswish)]
    for row in rows:
        scaled = dataclasses.replace(
            row,
            expanded=round_channels(row.expanded * spec.width),
            outputs=round_channels(row.outputs * spec.width),
        )
        blocks.append(Bottleneck(style, channels, scaled, strides.take(row.stride)))
        channels = scaled.outputs
    head = 6 * channels
    blocks.append(style.conv_block(channels, head, activation=nn.Hardswish))
    hidden = round_channels(last_channels * spec.width)
    classifier = nn.Sequential(
        nn.Linear(head, hidden), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(hidden, spec.num_classes)
    )
    return MobileNet(nn.Sequential(*blocks), classifier)
