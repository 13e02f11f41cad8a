"""What a model costs, held against published figures and against the formulas of the papers."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgekit.models import registry
from edgekit.models._profile import Profile, layer_kind, profile, separable_cost
from edgekit.spec import ModelSpec

PARAMETERS = {
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
}
PUBLISHED_MEGA_MACS = {"mobilenet_v1": 569, "mobilenet_v2": 300, "mobilenet_v3_large": 217, "mobilenet_v3_small": 56}
V1_STRIDES = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
V2_STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


@functools.cache
def of(name: str, input_size: int = 224, width: float = 1.0) -> Profile:
    with torch.device("meta"):
        return profile(registry.build(ModelSpec(name, width)), input_size)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_published(name: str) -> None:
    assert of(name).parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", PUBLISHED_MEGA_MACS)
def test_macs_are_those_published(name: str) -> None:
    assert of(name).macs / 1e6 == pytest.approx(PUBLISHED_MEGA_MACS[name], rel=0.01)


@pytest.mark.parametrize(("width", "mega_macs"), [(0.75, 325), (0.5, 149)])
def test_macs_of_narrower_v1_are_those_published(width: float, mega_macs: float) -> None:
    assert of("mobilenet_v1", width=width).macs / 1e6 == pytest.approx(mega_macs, rel=0.01)


def test_macs_of_v1_are_the_formula_of_its_paper() -> None:
    size, channels = 112, 32
    macs = standard = 9 * 3 * channels * size**2
    for outputs, stride in V1_STRIDES:
        size //= stride
        macs += 9 * channels * size**2 + channels * outputs * size**2
        standard += 9 * channels * outputs * size**2
        channels = outputs
    result = of("mobilenet_v1")
    assert (result.macs, result.standard_macs) == (macs + 1024 * 1000, standard + 1024 * 1000)
    assert result.macs == 568_740_352


def test_macs_of_v2_are_the_formula_of_its_paper() -> None:
    size, channels = 112, 32
    macs = 9 * 3 * channels * size**2
    for expansion, outputs, repeats, first in V2_STAGES:
        for stride in [first] + [1] * (repeats - 1):
            hidden = channels * expansion
            macs += channels * hidden * size**2 if expansion > 1 else 0
            size //= stride
            macs += 9 * hidden * size**2 + hidden * outputs * size**2
            channels = outputs
    assert of("mobilenet_v2").macs == macs + channels * 1280 * size**2 + 1280 * 1000 == 300_774_272


def test_macs_of_v3_are_exact() -> None:
    assert of("mobilenet_v3_large").macs == 216_589_760
    assert of("mobilenet_v3_small").macs == 56_510_400


def test_the_example_of_32_to_64_channels() -> None:
    cost = separable_cost(32, 64)
    assert (cost.standard, cost.depthwise, cost.pointwise, cost.separable) == (18_432, 288, 2_048, 2_336)
    assert cost.ratio == pytest.approx(1 / 64 + 1 / 9)


def test_the_example_of_3_to_4_channels() -> None:
    cost = separable_cost(3, 4)
    assert (cost.standard, cost.depthwise, cost.pointwise, cost.separable) == (108, 27, 12, 39)


@given(st.integers(1, 2048), st.integers(1, 2048), st.sampled_from([3, 5, 7]), st.integers(1, 112))
def test_the_ratio_is_one_over_n_plus_one_over_kernel_area(inputs: int, outputs: int, kernel: int, size: int) -> None:
    cost = separable_cost(inputs, outputs, kernel, size**2)
    assert cost.ratio == pytest.approx(1 / outputs + 1 / kernel**2)


def test_each_layer_has_its_kind_shape_and_cost() -> None:
    layers = {layer.name: layer for layer in of("mobilenet_v1").layers}
    stem, depthwise, pointwise = layers["features.0.0"], layers["features.1.0"], layers["features.1.3"]
    assert [stem.kind, depthwise.kind, pointwise.kind] == ["standard", "depthwise", "pointwise"]
    assert pointwise.output_shape == (64, 112, 112)
    assert pointwise.activation_bytes == 64 * 112 * 112 * 4
    assert pointwise.parameters == 32 * 64 + 2 * 64  # with the batch normalisation that follows
    assert pointwise.macs == 32 * 64 * 112 * 112
    assert depthwise.standard_macs == 9 * 32 * 64 * 112 * 112
    assert pointwise.standard_macs == 0
    assert layers["classifier"].kind == "linear"
    assert layers["classifier"].macs == 1024 * 1000


def test_layers_stand_in_the_order_they_run_and_totals_are_their_sums() -> None:
    result = of("mobilenet_v2")
    assert result.layers[0].name == "features.0.0"
    assert result.layers[-1].kind == "linear"
    assert sum(layer.kind == "depthwise" for layer in result.layers) == 17
    assert result.activation_bytes == sum(layer.activation_bytes for layer in result.layers)


@pytest.mark.parametrize("input_size", [32, 224])
@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_squeeze_and_excitation_stays_as_it_is_when_pairs_become_standard(name: str, input_size: int) -> None:
    layers = of(name, input_size).layers
    squeezing = [layer for layer in layers if layer.kind == "pointwise" and layer.name.endswith(("reduce", "expand"))]
    assert squeezing
    assert all(layer.standard_macs == layer.macs > 0 for layer in squeezing)
    paired = [layer for layer in layers if layer.standard_macs == 0]
    assert len(paired) == sum(layer.kind == "depthwise" for layer in layers)
    assert not any(layer in squeezing for layer in paired)


def test_profiling_leaves_the_module_alone_and_does_not_need_its_weights() -> None:
    module = registry.build(ModelSpec("mobilenet_v1", 0.25, 10)).train()
    nn.init.constant_(module.get_parameter("classifier.bias"), float("nan"))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    profile(module, 64)
    assert module.training
    assert not any(layer._forward_hooks for layer in module.modules())
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_macs_grow_with_the_area_of_the_image() -> None:
    small, large = of("mobilenet_v1", 128), of("mobilenet_v1", 256)
    classifier = 1024 * 1000
    assert large.macs - classifier == 4 * (small.macs - classifier)
    assert large.parameters == small.parameters


def test_other_layers_with_parameters_are_counted_too() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.PReLU(4), nn.Conv2d(4, 8, 3, groups=2), nn.Flatten())
    result = profile(module, 8)
    assert [layer.kind for layer in result.layers] == ["standard", "other", "grouped"]
    assert result.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert result.layers[1].macs == 0
    assert result.layers[2].macs == 9 * 2 * 8 * 4 * 4
    assert layer_kind(nn.ReLU()) == "other"
