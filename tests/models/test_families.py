"""The four architectures: published sizes, every option, and the building blocks against independent references."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.data import batches, open_images
from edgekit.errors import ModelError, UsageError
from edgekit.models import build, channels_of, choosing_layers, load, names
from edgekit.models._profile import layer_kind
from edgekit.models.blocks import MobileNet, SamePadConv2d, SqueezeExcitation, round_channels
from edgekit.models.mobilenet_v2 import InvertedResidual
from edgekit.models.mobilenet_v3 import LARGE, SMALL, Bottleneck
from edgekit.spec import ModelSpec

PUBLISHED = {
    ("mobilenet_v1", 1.0): 4_231_976,
    ("mobilenet_v1", 0.75): 2_585_560,
    ("mobilenet_v1", 0.5): 1_331_592,
    ("mobilenet_v1", 0.25): 470_072,
    ("mobilenet_v2", 1.0): 3_504_872,
    ("mobilenet_v3_large", 1.0): 5_483_032,
    ("mobilenet_v3_small", 1.0): 2_542_856,
}
STYLES = [("torch", 2, None), ("tf_same", 2, None), ("torch", 1, None), ("tf_same", 1, 8), ("torch", 2, 16)]


def on_meta(spec: ModelSpec) -> MobileNet:
    """Build without memory for weights, where only the structure is asked for."""
    with torch.device("meta"):
        return build(spec).eval()


def blocks_with_residual(module: nn.Module) -> list[bool]:
    return [block.residual for block in module.modules() if isinstance(block, (InvertedResidual, Bottleneck))]


@pytest.mark.parametrize(("architecture", "width"), PUBLISHED)
def test_parameter_counts_are_those_published(architecture: str, width: float) -> None:
    module = on_meta(ModelSpec(architecture, width))
    assert sum(parameter.numel() for parameter in module.parameters()) == PUBLISHED[architecture, width]


@pytest.mark.parametrize(("width", "size"), [(0.25, 32), (0.25, 33), (0.25, 224), (1.3, 32), (1.3, 33)])
@pytest.mark.parametrize("architecture", names())
def test_every_width_size_and_style_gives_logits(architecture: str, width: float, size: int) -> None:
    for padding, stem_stride, output_stride in STYLES:
        spec = ModelSpec(architecture, width, 7, size, padding, None, stem_stride, output_stride)  # type: ignore[arg-type]
        with torch.inference_mode():
            assert build(spec).eval()(torch.zeros(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize("architecture", names())
@pytest.mark.parametrize("padding", ["torch", "tf_same"])
def test_real_weights_give_finite_logits_that_depend_on_the_image(architecture: str, padding: str) -> None:
    torch.manual_seed(0)
    module = build(ModelSpec(architecture, 0.25, 5, 33, padding, stem_stride=1)).train()  # type: ignore[arg-type]
    logits = module(torch.randn(4, 3, 33, 33))
    assert logits.shape == (4, 5)
    assert torch.isfinite(logits).all()
    assert logits.std(0).min() > 0


@given(
    architecture=st.sampled_from(names()),
    size=st.integers(32, 130),
    padding=st.sampled_from(["torch", "tf_same"]),
    stem_stride=st.sampled_from([1, 2]),
    output_stride=st.sampled_from([4, 8, 16, 32]),
)
@settings(deadline=None, max_examples=30)
def test_the_last_feature_map_has_the_size_that_output_stride_says(
    architecture: str, size: int, padding: str, stem_stride: int, output_stride: int
) -> None:
    assume(output_stride <= 16 * stem_stride)
    spec = ModelSpec(architecture, 0.25, 2, size, padding, None, stem_stride, output_stride)  # type: ignore[arg-type]
    with torch.inference_mode():
        features = build(spec).eval().features(torch.zeros(1, 3, size, size))
    assert features.shape[-2:] == (math.ceil(size / output_stride),) * 2


@pytest.mark.parametrize("architecture", names())
def test_without_an_output_stride_the_image_shrinks_by_32(architecture: str) -> None:
    with torch.inference_mode():
        assert build(ModelSpec(architecture, 0.25)).eval().features(torch.zeros(1, 3, 224, 224)).shape[-2:] == (7, 7)


@given(st.floats(0.01, 5000), st.sampled_from([4, 8, 16]))
def test_channels_round_to_the_nearest_multiple_that_keeps_90_percent(channels: float, divisor: int) -> None:
    rounded = round_channels(channels, divisor)
    multiples = [divisor * count for count in range(1, math.ceil(channels / divisor) + 2)]
    kept = [multiple for multiple in multiples if multiple >= 0.9 * channels]
    assert rounded in kept
    assert abs(rounded - channels) == min(abs(multiple - channels) for multiple in kept)


@pytest.mark.parametrize(("channels", "rounded"), [(1, 8), (11.9, 16), (12, 16), (18, 24), (20, 24), (32 * 0.35, 16)])
def test_channels_round_as_in_the_reference_code(channels: float, rounded: int) -> None:
    assert round_channels(channels) == rounded


def same_convolution(image: npt.NDArray[np.float64], kernel: npt.NDArray[np.float64], stride: int) -> list[list[float]]:
    """Sum by the definition of TensorFlow's SAME: ceil(n / stride) outputs, the lesser half of the padding before."""
    starts = []
    for length in image.shape:
        outputs = -(-length // stride)
        total = max((outputs - 1) * stride + len(kernel) - length, 0)
        starts.append([index * stride - total // 2 for index in range(outputs)])
    return [
        [
            sum(
                image[top + y, left + x] * kernel[y, x]
                for y, x in itertools.product(range(len(kernel)), repeat=2)
                if 0 <= top + y < image.shape[0] and 0 <= left + x < image.shape[1]
            )
            for left in starts[1]
        ]
        for top in starts[0]
    ]


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5]), st.integers(1, 3), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_same_padding_is_that_of_tensorflow(height: int, width: int, kernel: int, stride: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    image, weights = random.normal(size=(height, width)), random.normal(size=(kernel, kernel))
    layer = SamePadConv2d(1, 1, kernel, stride, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        result = layer(torch.from_numpy(image)[None, None])[0, 0]
    np.testing.assert_allclose(result.numpy(), same_convolution(image, weights, stride), atol=1e-12)


def test_same_padding_leaves_the_first_row_alone_on_even_sizes() -> None:
    layer = SamePadConv2d(1, 1, 3, 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 0] = 1.0
        picked = layer(torch.arange(16.0).view(1, 1, 4, 4))
    assert picked[0, 0].tolist() == [[0.0, 2.0], [8.0, 10.0]]


@pytest.mark.parametrize("architecture", names())
def test_tf_same_is_used_wherever_the_stride_is_above_one(architecture: str) -> None:
    for padding in ("torch", "tf_same"):
        strided = [
            layer
            for layer in on_meta(ModelSpec(architecture, padding=padding)).modules()
            if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1)
        ]
        assert len(strided) == 5
        assert all(isinstance(layer, SamePadConv2d) == (padding == "tf_same") for layer in strided)


@pytest.mark.parametrize(("architecture", "own"), [(name, 1e-3 if "v3" in name else 1e-5) for name in names()])
def test_the_epsilon_is_that_of_every_batch_normalisation(architecture: str, own: float) -> None:
    for given_eps, expected in ((None, own), (0.02, 0.02)):
        module = on_meta(ModelSpec(architecture, bn_eps=given_eps))
        norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
        assert len(norms) > 20
        assert {norm.eps for norm in norms} == {expected}


def test_v1_takes_relu_and_biased_convolutions() -> None:
    plain = on_meta(ModelSpec("mobilenet_v1"))
    changed = on_meta(ModelSpec("mobilenet_v1", activation="relu", conv_bias=True))
    kinds = [{type(layer) for layer in module.modules()} for module in (plain, changed)]
    assert nn.ReLU6 in kinds[0]
    assert nn.ReLU not in kinds[0]
    assert nn.ReLU in kinds[1]
    assert nn.ReLU6 not in kinds[1]
    for module, biased in ((plain, False), (changed, True)):
        convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
        assert len(convolutions) == 27
        assert all((layer.bias is not None) == biased for layer in convolutions)


def test_v1_alternates_depthwise_and_pointwise_convolutions() -> None:
    module = on_meta(ModelSpec("mobilenet_v1"))
    kinds = [layer_kind(layer) for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert kinds == ["standard", *["depthwise", "pointwise"] * 13]


@pytest.mark.parametrize(
    ("architecture", "count"), [("mobilenet_v2", 10), ("mobilenet_v3_large", 10), ("mobilenet_v3_small", 6)]
)
def test_residuals_are_those_of_the_table_whatever_the_output_stride(architecture: str, count: int) -> None:
    plain = blocks_with_residual(on_meta(ModelSpec(architecture)))
    assert sum(plain) == count
    assert blocks_with_residual(on_meta(ModelSpec(architecture, stem_stride=1, output_stride=4))) == plain


@pytest.mark.parametrize("architecture", names()[1:])
def test_a_stage_that_keeps_its_channels_still_begins_without_a_residual(architecture: str) -> None:
    """At width 0.1 all channels are 8 or 16, so that only the table's stride tells where a stage begins."""
    strided = [
        (block.residual, convolution.stride)
        for block in on_meta(ModelSpec(architecture, 0.1)).modules()
        if isinstance(block, (InvertedResidual, Bottleneck))
        for convolution in block.modules()
        if isinstance(convolution, nn.Conv2d) and convolution.groups > 1
    ]
    assert all(stride == (1, 1) for residual, stride in strided if residual)
    without_strides = on_meta(ModelSpec(architecture, 0.1, stem_stride=1, output_stride=4))
    assert blocks_with_residual(without_strides) == [residual for residual, _ in strided]


def test_a_residual_adds_the_input() -> None:
    torch.manual_seed(0)
    module = build(ModelSpec("mobilenet_v2", 0.25, 2, 32)).eval()
    block = next(block for block in module.modules() if isinstance(block, InvertedResidual) and block.residual)
    images = torch.randn(1, 8, 6, 6)
    assert torch.equal(block(images), images + block.conv(images))


@pytest.mark.parametrize(
    ("architecture", "squeezed"),
    [
        ("mobilenet_v3_large", [24, 32, 32, 120, 168, 168, 240, 240]),
        ("mobilenet_v3_small", [8, 24, 64, 64, 32, 40, 72, 144, 144]),
    ],
)
def test_v3_squeezes_to_a_quarter_rounded_to_eight(architecture: str, squeezed: list[int]) -> None:
    layers = [layer for layer in on_meta(ModelSpec(architecture)).modules() if isinstance(layer, SqueezeExcitation)]
    assert [layer.reduce.out_channels for layer in layers] == squeezed
    rows = [row for row in (LARGE if "large" in architecture else SMALL) if row.squeeze]
    assert [layer.expand.out_channels for layer in layers] == [row.expanded for row in rows]


def test_squeeze_excitation_scales_each_channel_by_its_gate() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcitation(16, 8).eval()
    images = torch.randn(2, 16, 5, 5)
    means = images.mean((2, 3))
    assert layer.reduce.bias is not None
    assert layer.expand.bias is not None
    hidden = (means @ layer.reduce.weight[:, :, 0, 0].T + layer.reduce.bias).clamp(min=0)
    gate = ((hidden @ layer.expand.weight[:, :, 0, 0].T + layer.expand.bias) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(layer(images), images * gate[:, :, None, None])


@pytest.mark.parametrize("architecture", names())
def test_the_channels_of_an_unpruned_model_describe_it(architecture: str) -> None:
    spec = ModelSpec(architecture, 0.5, 10, 32)
    module = on_meta(spec)
    channels = channels_of(module)
    again = on_meta(dataclasses.replace(spec, channels=channels))
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == {
        name: tensor.shape for name, tensor in module.state_dict().items()
    }
    assert len(choosing_layers(module)) == len(channels) == {
        "mobilenet_v1": 14, "mobilenet_v2": 35, "mobilenet_v3_large": 40, "mobilenet_v3_small": 33,
    }[architecture]  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "channels", "reason"),
    [
        ("mobilenet_v1", (8,) * 13, "channels for 13 layers, the architecture has more"),
        ("mobilenet_v1", (8,) * 15, "channels for 15 layers, the architecture has 14"),
        ("mobilenet_v2", (*range(8, 8 * 36, 8),), "a residual connection adds"),
        ("mobilenet_v3_large", (*range(8, 8 * 41, 8),), "a residual connection adds"),
    ],
)
def test_channels_of_another_model_are_ek107(architecture: str, channels: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        build(ModelSpec(architecture, channels=channels))
    assert caught.value.code == "EK107"


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"architecture": "resnet50"}, "--arch"),
        ({"width": 0.0}, "--width"),
        ({"width": 8.1}, "--width"),
        ({"width": math.nan}, "--width"),
        ({"num_classes": 0}, "--num-classes"),
        ({"input_size": 31}, "--input-size"),
        ({"padding": "same"}, "--padding"),
        ({"bn_eps": 0.0}, "--bn-eps"),
        ({"bn_eps": math.nan}, "--bn-eps"),
        ({"stem_stride": 3}, "--stem-stride"),
        ({"output_stride": 12}, "--output-stride"),
        ({"output_stride": 32, "stem_stride": 1}, "--output-stride"),
        ({"activation": "gelu"}, "--activation"),
        ({"architecture": "mobilenet_v2", "activation": "relu"}, "--activation"),
        ({"architecture": "mobilenet_v3_small", "conv_bias": True}, "--conv-bias"),
        ({"channels": (0,) * 14}, "channels"),
        ({"channels": ()}, "channels"),
    ],
)
def test_a_field_that_nothing_can_be_built_from_is_refused_by_its_option(
    fields: dict[str, object], option: str
) -> None:
    with pytest.raises(UsageError) as caught:
        build(ModelSpec(**{"architecture": "mobilenet_v1", **fields}))  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.where) == ("EK001", option)
    assert caught.value.hint


@pytest.mark.shared_data
def test_the_imagenet_checkpoint_classifies_half_of_its_sample(shared_data: Path) -> None:
    loaded = load(shared_data / "mobilenet_v1_0.25_224_imagenet.safetensors")
    images = open_images(shared_data / "imagenet_sample.zip").spread(100)
    correct = 0
    with torch.inference_mode():
        for batch in batches(images, loaded.preprocessing, 20):
            assert batch.labels is not None
            correct += int((loaded.module(torch.from_numpy(batch.images)).argmax(1).numpy() == batch.labels).sum())
    assert correct >= 50
