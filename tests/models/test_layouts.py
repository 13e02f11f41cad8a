"""Checkpoints of other people's code: each is saved by a module written here in that code's way.

Whatever the names, the loaded model must compute what the forward of that module computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgekit.models import registry
from edgekit.models._checkpoint import read_checkpoint
from edgekit.models._inference import infer_spec
from edgekit.models._matching import match
from edgekit.spec import ModelSpec

CLASSES = 12
V1_WIDTH, V2_WIDTH, V3_WIDTH = 0.25, 0.35, 0.75
V1_BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
V2_STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]
# [expanded, outputs, kernel, stride, squeeze, activation], stage by stage as timm cuts them.
V3_LARGE: list[list[tuple[int, int, int, int, bool, str]]] = [
    [(16, 16, 3, 1, False, "RE")],
    [(64, 24, 3, 2, False, "RE"), (72, 24, 3, 1, False, "RE")],
    [(72, 40, 5, 2, True, "RE"), (120, 40, 5, 1, True, "RE"), (120, 40, 5, 1, True, "RE")],
    [(240, 80, 3, 2, False, "HS"), (200, 80, 3, 1, False, "HS"), *[(184, 80, 3, 1, False, "HS")] * 2],
    [(480, 112, 3, 1, True, "HS"), (672, 112, 3, 1, True, "HS")],
    [(672, 160, 5, 2, True, "HS"), (960, 160, 5, 1, True, "HS"), (960, 160, 5, 1, True, "HS")],
]  # fmt: skip
V3_SMALL: list[list[tuple[int, int, int, int, bool, str]]] = [
    [(16, 16, 3, 2, True, "RE")],
    [(72, 24, 3, 2, False, "RE"), (88, 24, 3, 1, False, "RE")],
    [(96, 40, 5, 2, True, "HS"), (240, 40, 5, 1, True, "HS"), (240, 40, 5, 1, True, "HS")],
    [(120, 48, 5, 1, True, "HS"), (144, 48, 5, 1, True, "HS")],
    [(288, 96, 5, 2, True, "HS"), (576, 96, 5, 1, True, "HS"), (576, 96, 5, 1, True, "HS")],
]


def eighth(channels: float) -> int:
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)


def act(name: str) -> nn.Module:
    return {"RE": nn.ReLU(), "R6": nn.ReLU6(), "HS": nn.Hardswish(), "": nn.Identity()}[name]


def unit(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, activation: str, eps: float
) -> nn.Sequential:
    modules: list[nn.Module] = [
        conv(inputs, outputs, kernel, stride, groups),
        nn.BatchNorm2d(outputs, eps=eps),
    ]
    return nn.Sequential(*modules, *([act(activation)] if activation else []))


class Frame(nn.Module):
    """Features, pool, classifier: `features.N…`, `classifier…`."""

    def __init__(self, features: list[nn.Module], classifier: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.classifier(self.features(images).mean((2, 3)))
        return result


class Residual(nn.Module):
    """Torchvision's inverted residual: its body is called `conv` in V2 and `block` in V3."""

    def __init__(self, name: str, body: nn.Sequential, residual: bool) -> None:
        super().__init__()
        self.add_module(name, body)
        self.residual = residual

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        (body,) = self.children()
        result: torch.Tensor = body(images)
        return images + result if self.residual else result


def torchvision_v2() -> nn.Module:
    channels = eighth(32 * V2_WIDTH)
    features: list[nn.Module] = [unit(3, channels, 3, 2, 1, "R6", 1e-5)]
    for expansion, base, repeats, first in V2_STAGES:
        for index in range(repeats):
            outputs, hidden, stride = (
                eighth(base * V2_WIDTH),
                channels * expansion,
                first if index == 0 else 1,
            )
            expand = [unit(channels, hidden, 1, 1, 1, "R6", 1e-5)] if expansion > 1 else []
            depthwise = unit(hidden, hidden, 3, stride, hidden, "R6", 1e-5)
            body = nn.Sequential(*expand, depthwise, *unit(hidden, outputs, 1, 1, 1, "", 1e-5))
            features.append(Residual("conv", body, stride == 1 and channels == outputs))
            channels = outputs
    features.append(unit(channels, 1280, 1, 1, 1, "R6", 1e-5))
    return Frame(features, nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, CLASSES)))


class TorchvisionSqueeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = conv(channels, eighth(channels / 4), bias=True)
        self.fc2 = conv(eighth(channels / 4), channels, bias=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = images.mean((2, 3), keepdim=True)
        return images * nn.functional.hardsigmoid(self.fc2(nn.functional.relu(self.fc1(pooled))))


def torchvision_v3(stages: list[list[tuple[int, int, int, int, bool, str]]], last: int) -> nn.Module:
    channels = eighth(16 * V3_WIDTH)
    features: list[nn.Module] = [unit(3, channels, 3, 2, 1, "HS", 1e-3)]
    for base, base_outputs, kernel, stride, squeeze, name in [row for stage in stages for row in stage]:
        hidden, outputs = eighth(base * V3_WIDTH), eighth(base_outputs * V3_WIDTH)
        parts: list[nn.Module] = [unit(channels, hidden, 1, 1, 1, name, 1e-3)] if hidden != channels else []
        parts += [unit(hidden, hidden, kernel, stride, hidden, name, 1e-3)]
        parts += [TorchvisionSqueeze(hidden)] if squeeze else []
        parts += [unit(hidden, outputs, 1, 1, 1, "", 1e-3)]
        features.append(Residual("block", nn.Sequential(*parts), stride == 1 and channels == outputs))
        channels = outputs
    features.append(unit(channels, 6 * channels, 1, 1, 1, "HS", 1e-3))
    hidden = eighth(last * V3_WIDTH)
    head = [nn.Linear(6 * channels, hidden), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(hidden, CLASSES)]
    return Frame(features, nn.Sequential(*head))


class TimmSqueeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = conv(channels, eighth(channels / 4), bias=True)
        self.conv_expand = conv(eighth(channels / 4), channels, bias=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = images.mean((2, 3), keepdim=True)
        return images * nn.functional.hardsigmoid(self.conv_expand(nn.functional.relu(self.conv_reduce(pooled))))


class TimmBlock(nn.Module):
    """timm's InvertedResidual (conv_pw, conv_dw, conv_pwl) and, without expansion, DepthwiseSeparableConv."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        kernel: int,
        stride: int,
        squeeze: bool,
        name: str,
        eps: float,
    ) -> None:
        super().__init__()
        self.act, self.residual, self.expands = act(name), stride == 1 and inputs == outputs, hidden != inputs
        if self.expands:
            self.conv_pw, self.bn1 = conv(inputs, hidden), nn.BatchNorm2d(hidden, eps=eps)
            self.conv_dw, self.bn2 = (
                conv(hidden, hidden, kernel, stride, hidden),
                nn.BatchNorm2d(hidden, eps=eps),
            )
            self.se = TimmSqueeze(hidden) if squeeze else nn.Identity()
            self.conv_pwl, self.bn3 = conv(hidden, outputs), nn.BatchNorm2d(outputs, eps=eps)
        else:
            self.conv_dw, self.bn1 = (
                conv(inputs, inputs, kernel, stride, inputs),
                nn.BatchNorm2d(inputs, eps=eps),
            )
            self.se = TimmSqueeze(hidden) if squeeze else nn.Identity()
            self.conv_pw, self.bn2 = conv(inputs, outputs), nn.BatchNorm2d(outputs, eps=eps)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.expands:
            inner = self.act(self.bn2(self.conv_dw(self.act(self.bn1(self.conv_pw(images))))))
            result: torch.Tensor = self.bn3(self.conv_pwl(self.se(inner)))
        else:
            result = self.bn2(self.conv_pw(self.se(self.act(self.bn1(self.conv_dw(images))))))
        return images + result if self.residual else result


class TimmV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        channels = eighth(32 * V2_WIDTH)
        self.conv_stem, self.bn1 = conv(3, channels, 3, 2), nn.BatchNorm2d(channels)
        stages: list[nn.Module] = []
        for expansion, base, repeats, first in V2_STAGES:
            stage: list[nn.Module] = []
            for index in range(repeats):
                outputs, stride = eighth(base * V2_WIDTH), first if index == 0 else 1
                stage.append(TimmBlock(channels, channels * expansion, outputs, 3, stride, False, "R6", 1e-5))
                channels = outputs
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.conv_head, self.bn2 = conv(channels, 1280), nn.BatchNorm2d(1280)
        self.classifier = nn.Linear(1280, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(nn.functional.relu6(self.bn1(self.conv_stem(images))))
        features = nn.functional.relu6(self.bn2(self.conv_head(features)))
        result: torch.Tensor = self.classifier(features.mean((2, 3)))
        return result


class TimmLast(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.bn1 = conv(inputs, outputs), nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.hardswish(self.bn1(self.conv(images)))


class TimmV3(nn.Module):
    """timm's MobileNetV3: the first linear layer of torchvision's classifier is a 1x1 convolution here."""

    def __init__(self, rows: list[list[tuple[int, int, int, int, bool, str]]], last: int) -> None:
        super().__init__()
        channels = eighth(16 * V3_WIDTH)
        self.conv_stem, self.bn1 = conv(3, channels, 3, 2), nn.BatchNorm2d(channels, eps=1e-3)
        stages: list[nn.Module] = []
        for row in rows:
            stage: list[nn.Module] = []
            for hidden, outputs, kernel, stride, squeeze, name in row:
                shape = channels, eighth(hidden * V3_WIDTH), eighth(outputs * V3_WIDTH)
                stage.append(TimmBlock(*shape, kernel, stride, squeeze, name, 1e-3))
                channels = shape[-1]
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages, nn.Sequential(TimmLast(channels, 6 * channels)))
        self.conv_head = conv(6 * channels, eighth(last * V3_WIDTH), bias=True)
        self.classifier = nn.Linear(eighth(last * V3_WIDTH), CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.blocks(nn.functional.hardswish(self.bn1(self.conv_stem(images))))
        pooled = nn.functional.hardswish(self.conv_head(features.mean((2, 3), keepdim=True)))
        result: torch.Tensor = self.classifier(pooled.flatten(1))
        return result


class V1Block(nn.Module):
    """A hand-written block: names of depthwise, its norm, pointwise, its norm, registered in any order."""

    def __init__(self, inputs: int, outputs: int, stride: int, names: Sequence[str], registered: Sequence[int]) -> None:
        super().__init__()
        self.names = tuple(names)
        modules: list[nn.Module] = [conv(inputs, inputs, 3, stride, inputs), nn.BatchNorm2d(inputs)]
        modules += [conv(inputs, outputs), nn.BatchNorm2d(outputs)]
        for index in registered:
            self.add_module(names[index], modules[index])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        depthwise, first, pointwise, second = (self.get_submodule(name) for name in self.names)
        inner = nn.functional.relu6(first(depthwise(images)))
        return nn.functional.relu6(second(pointwise(inner)))


def hand_written_v1(*names: str, registered: Sequence[int] = (0, 1, 2, 3)) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        channels = int(32 * V1_WIDTH)
        features: list[nn.Module] = [unit(3, channels, 3, 2, 1, "R6", 1e-5)]
        for base, stride in V1_BLOCKS:
            features.append(V1Block(channels, int(base * V1_WIDTH), stride, names, registered))
            channels = int(base * V1_WIDTH)
        return Frame(features, nn.Linear(channels, CLASSES))

    return build


class V1Lists(nn.Module):
    """Parallel lists of modules at the top, a stem and a head whose names sort the wrong way round."""

    def __init__(self) -> None:
        super().__init__()
        channels = int(32 * V1_WIDTH)
        self.stem, self.after = conv(3, channels, 3, 2), nn.BatchNorm2d(channels)
        self.depthwise, self.dnorm, self.pointwise, self.pnorm = (nn.ModuleList() for _ in range(4))
        for base, stride in V1_BLOCKS:
            outputs = int(base * V1_WIDTH)
            self.depthwise.append(conv(channels, channels, 3, stride, channels))
            self.dnorm.append(nn.BatchNorm2d(channels))
            self.pointwise.append(conv(channels, outputs))
            self.pnorm.append(nn.BatchNorm2d(outputs))
            channels = outputs
        self.answer = nn.Linear(channels, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = nn.functional.relu6(self.after(self.stem(images)))
        for depthwise, first, pointwise, second in zip(
            self.depthwise, self.dnorm, self.pointwise, self.pnorm, strict=True
        ):
            images = nn.functional.relu6(second(pointwise(nn.functional.relu6(first(depthwise(images))))))
        result: torch.Tensor = self.answer(images.mean((2, 3)))
        return result


V1, V2, V3L, V3S = "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"
NUMBERED = ("depthwise", "bn1", "pointwise", "bn2")
LAYOUTS: dict[str, tuple[str, float, Callable[[], nn.Module]]] = {
    "torchvision V2": (V2, V2_WIDTH, torchvision_v2),
    "torchvision V3-Large": (V3L, V3_WIDTH, lambda: torchvision_v3(V3_LARGE, 1280)),
    "torchvision V3-Small": (V3S, V3_WIDTH, lambda: torchvision_v3(V3_SMALL, 1024)),
    "timm V2": (V2, V2_WIDTH, TimmV2),
    "timm V3-Large": (V3L, V3_WIDTH, lambda: TimmV3(V3_LARGE, 1280)),
    "timm V3-Small": (V3S, V3_WIDTH, lambda: TimmV3(V3_SMALL, 1024)),
    "V1 0/1/3/4": (V1, V1_WIDTH, hand_written_v1("0", "1", "3", "4")),
    "V1 convolutions first": (V1, V1_WIDTH, hand_written_v1(*NUMBERED, registered=(0, 2, 1, 3))),
    "V1 registered backwards": (V1, V1_WIDTH, hand_written_v1(*NUMBERED, registered=(3, 2, 1, 0))),
    "V1 conv1/conv2": (V1, V1_WIDTH, hand_written_v1("conv1", "bn1", "conv2", "bn2")),
    "V1 dw_bn/pw_bn": (V1, V1_WIDTH, hand_written_v1("dw", "dw_bn", "pw", "pw_bn")),
    "V1 names that sort backwards": (V1, V1_WIDTH, hand_written_v1("spatial", "zz", "mixing", "aa")),
    "V1 conv3x3/conv1x1": (V1, V1_WIDTH, hand_written_v1("conv3x3", "norm_a", "conv1x1", "norm_b")),
    "V1 parallel lists": (V1, V1_WIDTH, V1Lists),
}


def randomise(module: nn.Module) -> nn.Module:
    """Give every tensor values of its own, so that any two layers that swap places change the output."""
    generator = torch.Generator().manual_seed(2)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.6, 1.6, generator=generator)  # type: ignore[arg-type]
            for tensor in (layer.bias, layer.running_mean):
                nn.init.normal_(tensor, 0.1, 0.2, generator=generator)  # type: ignore[arg-type]
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0.0, 0.5, generator=generator)
    return module.eval()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_of_any_layout_computes_what_its_own_code_computes(
    layout: str, suffix: str, tmp_path: Path
) -> None:
    architecture, width, build = LAYOUTS[layout]
    original = randomise(build())
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(original.state_dict(), file)
    else:
        save_file(original.state_dict(), file)

    tensors = read_checkpoint(file).tensors
    spec = infer_spec(tensors)
    assert spec == ModelSpec(architecture, width, CLASSES)
    module = registry.build(spec).eval()
    module.load_state_dict(match(module, tensors), strict=True)

    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, got = original(images), module(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_the_outputs_of_these_tests_tell_swapped_layers_apart() -> None:
    original = randomise(hand_written_v1("dw", "dw_bn", "pw", "pw_bn")())
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = original(images)
        block = original.get_submodule("features.9")
        assert isinstance(block, V1Block)
        block.names = ("dw", "pw_bn", "pw", "dw_bn")
        swapped = original(images)
    assert (swapped - expected).abs().max() > 1e-2 * expected.abs().max()
