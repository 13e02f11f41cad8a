"""MobileNetV3-Large and -Small: squeeze-and-excitation and hard-swish (Howard et al. 2019, arXiv 1905.02244)."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from edgekit.models.blocks import ChannelChoice, MobileNet, SqueezeExcitation, StrideBudget, Style, round_channels
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


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Channels of one bottleneck; `hidden` is None without an expansion, `squeezed` without squeeze-and-excitation."""

    inputs: int
    hidden: int | None
    squeezed: int | None
    outputs: int


class Bottleneck(nn.Module):
    """Expand, depthwise, squeeze-and-excitation where the table says so, project; residual as in MobileNetV2."""

    def __init__(self, style: Style, sizes: Sizes, row: Row, stride: int, residual: bool) -> None:
        super().__init__()
        activation = nn.Hardswish if row.hard_swish else nn.ReLU
        inputs, hidden = sizes.inputs, sizes.hidden or sizes.inputs
        parts: list[nn.Module] = []
        if sizes.hidden is not None:
            parts.append(style.conv_block(inputs, hidden, activation=activation))
        parts.append(style.conv_block(hidden, hidden, row.kernel, stride, hidden, activation))
        if sizes.squeezed is not None:
            parts.append(SqueezeExcitation(hidden, sizes.squeezed))
        parts.append(style.conv_block(hidden, sizes.outputs))
        self.block = nn.Sequential(*parts)
        self.residual = residual

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
    choice = ChannelChoice(spec.channels)

    # What the architecture gives decides which blocks there are; what pruning left decides how wide they are.
    given = round_channels(STEM_CHANNELS * spec.width)
    channels = choice.take(given)
    blocks: list[nn.Module] = [style.conv_block(3, channels, 3, spec.stem_stride, activation=nn.Hardswish)]
    for row in rows:
        expanded, outputs = round_channels(row.expanded * spec.width), round_channels(row.outputs * spec.width)
        sizes = Sizes(
            inputs=channels,
            hidden=choice.take(expanded) if expanded != given else None,
            squeezed=choice.take(round_channels(expanded / 4)) if row.squeeze else None,
            outputs=choice.take(outputs),
        )
        # By the table's stride: one that `output_stride` turned into 1 still begins a stage, without a residual.
        residual = row.stride == 1 and given == outputs
        if residual:
            choice.same(channels, sizes.outputs)
        blocks.append(Bottleneck(style, sizes, row, strides.take(row.stride), residual))
        given, channels = outputs, sizes.outputs
    head = choice.take(6 * given)
    blocks.append(style.conv_block(channels, head, activation=nn.Hardswish))
    hidden = choice.take(round_channels(last_channels * spec.width))
    choice.close()
    classifier = nn.Sequential(
        nn.Linear(head, hidden), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(hidden, spec.num_classes)
    )
    return MobileNet(nn.Sequential(*blocks), classifier)
