"""What matching makes of names and shapes, seen on edgekit's own models under other names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgekit.errors import ModelError
from edgekit.models import registry
from edgekit.models._checkpoint import read_checkpoint
from edgekit.models._matching import match
from edgekit.models._metadata import spec_from_metadata
from edgekit.spec import ModelSpec

Tensors = dict[str, torch.Tensor]
COUNTER = "num_batches_tracked"


@pytest.fixture(scope="module")
def v1() -> nn.Module:
    return distinct(registry.build(ModelSpec("mobilenet_v1", 0.25, 10)))


@pytest.fixture(scope="module")
def v2() -> nn.Module:
    return distinct(registry.build(ModelSpec("mobilenet_v2", 0.35, 10)))


def distinct(module: nn.Module) -> nn.Module:
    """Give each tensor a value of its own, so that no two can be mistaken for each other."""
    for index, tensor in enumerate(module.state_dict().values()):
        tensor.fill_(index + 1)
    return module


def weights(module: nn.Module) -> Tensors:
    return {name: tensor for name, tensor in module.state_dict().items() if not name.endswith(COUNTER)}


def renamed(module: nn.Module, rename: Callable[[str], str]) -> Tensors:
    return {rename(name): tensor for name, tensor in weights(module).items()}


def assert_same(matched: Tensors, module: nn.Module) -> None:
    expected = module.state_dict()
    assert matched.keys() == expected.keys()
    for name, tensor in weights(module).items():
        assert torch.equal(matched[name], tensor), name


def v1_blocks(*parts: str, block: str = "features.{}.") -> Callable[[str], str]:
    """Rename `features.N.{0,1,3,4}` of V1: the parts are what stands for 0, 1, 3 and 4."""
    place = dict(zip("0134", parts, strict=True))

    def rename(name: str) -> str:
        found = re.fullmatch(r"features\.(\d+)\.(\d)\.(\w+)", name)
        if found is None or found[1] == "0":
            return name
        return block.format(found[1]) + place[found[2]].format(found[1]) + "." + found[3]

    return rename


def v2_blocks(**parts: str) -> Callable[[str], str]:
    """Rename the six layers of the inverted residuals of V2; the block without expansion keeps its names."""
    roles = {
        "0.0": "expand",
        "0.1": "norm1",
        "1.0": "depthwise",
        "1.1": "norm2",
        "2": "project",
        "3": "norm3",
    }

    def rename(name: str) -> str:
        found = re.fullmatch(r"features\.(\d+)\.conv\.(0\.0|0\.1|1\.0|1\.1|2|3)\.(\w+)", name)
        return name if found is None or found[1] == "1" else f"blocks.{found[1]}.{parts[roles[found[2]]]}.{found[3]}"

    def rename_outside(name: str) -> str:
        return name if name != rename(name) else name.replace("features.", "blocks.")

    return lambda name: rename(name) if rename(name) != name else rename_outside(name)


def test_equal_names_are_taken_as_they_are(v1: nn.Module) -> None:
    matched = match(v1, weights(v1))
    assert_same(matched, v1)
    registry.build(ModelSpec("mobilenet_v1", 0.25, 10)).load_state_dict(matched, strict=True)


@pytest.mark.parametrize(
    "rename",
    [
        v1_blocks("conv_dw_{}", "conv_dw_{}_bn", "conv_pw_{}", "conv_pw_{}_bn", block=""),
        v1_blocks("dw{}.conv", "dw{}.norm", "pw{}.conv", "pw{}.norm", block=""),
        v1_blocks("convs.0", "norms.0", "convs.1", "norms.1"),
        v1_blocks("depthwise.conv", "depthwise.norm", "pointwise.conv", "pointwise.norm"),
        v1_blocks("convDepthwise", "normDepthwise", "convPointwise", "normPointwise"),
        lambda name: name.replace("classifier", "a.head").replace("features", "body.layers"),
    ],
    ids=["flat", "numbered words", "lists in a block", "nested", "camel case", "head sorts first"],
)
def test_sorted_names_of_v1_are_understood(v1: nn.Module, rename: Callable[[str], str]) -> None:
    assert_same(match(v1, dict(sorted(renamed(v1, rename).items()))), v1)


def test_names_of_other_frameworks_for_normalisation_are_understood(v1: nn.Module) -> None:
    fields = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    norms = {name.rpartition(".")[0] for name in weights(v1) if name.endswith("running_mean")}

    def rename(name: str) -> str:
        prefix, _, field = name.rpartition(".")
        fields_here = {**fields, "weight": "gamma", "bias": "beta"} if prefix in norms else {}
        return f"net.{prefix}.{fields_here.get(field, field)}"

    assert_same(match(v1, renamed(v1, rename)), v1)


WORDED = {"expand": "expand_conv", "depthwise": "dw_conv", "project": "project_conv"}
WORDED |= {"norm1": "expand_bn", "norm2": "dw_bn", "norm3": "project_bn"}
# The first two normalisations have the same shape, and nothing in their names says which convolution they follow.
NAMELESS = {
    "expand": "mix",
    "norm1": "zeta",
    "depthwise": "spatial",
    "norm2": "alpha",
    "project": "out",
    "norm3": "omega",
}


def test_a_normalisation_follows_the_convolution_that_shares_its_words(v2: nn.Module) -> None:
    assert_same(match(v2, dict(sorted(renamed(v2, v2_blocks(**WORDED)).items()))), v2)


def test_where_names_say_nothing_the_order_of_registration_decides(v2: nn.Module) -> None:
    assert_same(match(v2, renamed(v2, v2_blocks(**NAMELESS))), v2)


def test_where_nothing_decides_the_checkpoint_is_refused_rather_than_misread(v2: nn.Module) -> None:
    tensors = dict(sorted(renamed(v2, v2_blocks(**NAMELESS)).items()))
    with pytest.raises(ModelError, match="EK106 ") as caught:
        match(v2, tensors)
    assert "it could be blocks.2.alpha or blocks.2.zeta of the checkpoint" in caught.value.what
    assert "number the layers" in caught.value.hint


def test_file_order_is_no_excuse_to_contradict_the_numbers_in_names(v1: nn.Module) -> None:
    rename = v1_blocks("depthwise", "bn1", "pointwise", "bn2", block="layers.{}.")
    tensors = renamed(v1, rename)
    # Blocks 7 to 11 have the same shapes: written to the file backwards, they still run forwards.
    blocks = {n: [name for name in tensors if name.startswith(f"layers.{n}.")] for n in range(7, 12)}
    moved = {name for names in blocks.values() for name in names}
    order = [name for name in tensors if name not in moved]
    at = order.index(next(name for name in order if name.startswith("layers.12.")))
    order[at:at] = [name for n in range(11, 6, -1) for name in blocks[n]]
    assert_same(match(v1, {name: tensors[name] for name in order}), v1)


@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_the_order_of_the_keys_does_not_matter(v1: nn.Module, data: st.DataObject) -> None:
    style = data.draw(
        st.sampled_from(
            [
                v1_blocks("depthwise", "bn1", "pointwise", "bn2", block="layers.{}."),
                v1_blocks("dw", "dw_bn", "pw", "pw_bn", block="stage.{}."),
                v1_blocks("a", "b", "c", "d", block="x{}.y."),
            ]
        )
    )
    tensors = renamed(v1, style)
    order = data.draw(st.permutations(list(tensors)))
    assert_same(match(v1, {name: tensors[name] for name in order}), v1)


def test_a_linear_layer_may_stand_where_a_1x1_convolution_is_and_the_other_way_round(v1: nn.Module) -> None:
    tensors = renamed(v1, lambda name: f"net.{name}")
    for name, tensor in tensors.items():
        if name == "net.classifier.weight":
            tensors[name] = tensor[:, :, None, None]
        elif tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensors[name] = tensor[:, :, 0, 0]
    assert_same(match(v1, tensors), v1)


def refusal(module: nn.Module, tensors: Tensors) -> ModelError:
    with pytest.raises(ModelError) as caught:
        match(module, tensors, description="mobilenet_v1 width 0.25", where="w.pth")
    assert str(caught.value).startswith("EK106 w.pth: ")
    return caught.value


def both_namings(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    """The same checkpoint under the model's own names and under others, which goes through the search."""
    yield "", tensors
    yield "net.", {f"net.{name}": tensor for name, tensor in tensors.items()}


def test_another_width_names_the_first_layer_and_the_width_to_give(v1: nn.Module) -> None:
    wider = registry.build(ModelSpec("mobilenet_v1", 0.5, 10))
    for prefix, tensors in both_namings(weights(wider)):
        error = refusal(v1, tensors)
        place = "features.0.0" if not prefix else "features.0.0 (net.features.0.0 in the checkpoint)"
        assert error.what == (f"{place}: the checkpoint has (16, 3, 3, 3), mobilenet_v1 width 0.25 has (8, 3, 3, 3)")
        assert error.hint == "give --arch mobilenet_v1 --width 0.5 --num-classes 10"


def test_another_class_count_names_the_option_to_give(v1: nn.Module) -> None:
    other = registry.build(ModelSpec("mobilenet_v1", 0.25, 7))
    for _, tensors in both_namings(weights(other)):
        error = refusal(v1, tensors)
        assert "the checkpoint has (7, 256), mobilenet_v1 width 0.25 has (10, 256)" in error.what
        assert error.hint == "give --num-classes 7"


def test_another_architecture_is_recognised(v1: nn.Module) -> None:
    error = refusal(v1, weights(registry.build(ModelSpec("mobilenet_v3_small", 1.0, 5))))
    assert error.hint == "give --arch mobilenet_v3_small --width 1 --num-classes 5"


def test_a_missing_layer_is_named(v1: nn.Module) -> None:
    tensors = {name: tensor for name, tensor in weights(v1).items() if not name.startswith("features.13.4.")}
    error = refusal(v1, tensors)
    assert error.what.startswith("features.13.4 (classifier in the checkpoint): ")
    assert "the checkpoint has a layer with weight (10, 256)" in error.what
    assert "mobilenet_v1 width 0.25 has a batch normalisation with weight (256,)" in error.what


def test_a_missing_last_layer_is_named(v1: nn.Module) -> None:
    tensors = {name: tensor for name, tensor in weights(v1).items() if not name.startswith("classifier")}
    error = refusal(v1, tensors)
    assert error.what.startswith("classifier: the checkpoint has nothing for it")
    assert error.hint == "check --arch, --width and --num-classes"


def test_a_further_layer_is_named(v1: nn.Module) -> None:
    error = refusal(v1, weights(v1) | {"second_head.weight": torch.ones(3, 10)})
    assert "second_head: the checkpoint has a layer with weight (3, 10)" in error.what
    assert "mobilenet_v1 width 0.25 has no such layer" in error.what


def test_a_missing_or_further_field_is_named(v1: nn.Module) -> None:
    for _, tensors in both_namings({n: t for n, t in weights(v1).items() if n != "classifier.bias"}):
        assert "the checkpoint has no bias, mobilenet_v1 width 0.25 has one of (10,)" in refusal(v1, tensors).what
    for _, tensors in both_namings(weights(v1) | {"features.0.0.bias": torch.ones(8)}):
        assert "the checkpoint has a bias of (8,), mobilenet_v1 width 0.25 has none" in refusal(v1, tensors).what


def test_a_checkpoint_of_a_much_larger_network_is_refused_at_once(v1: nn.Module) -> None:
    error = refusal(v1, {f"layers.{index}.weight": torch.ones(1, 1) for index in range(2000)})
    assert error.what == "the checkpoint has 2000 layers, mobilenet_v1 width 0.25 has 55"


ALIKE = {f"{letter}.weight": torch.ones(4, 4) for letter in "abcdefghijklmnopqrstuvwxyz"}


def test_layers_that_all_look_alike_are_refused_when_their_order_is_only_alphabetical() -> None:
    module = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in ALIKE))
    with pytest.raises(ModelError, match=r"EK106 24: it could be y or z of the checkpoint"):
        match(module, ALIKE)
    assert match(module, dict(reversed(ALIKE.items()))).keys() == module.state_dict().keys()


def test_a_search_with_countless_dead_ends_gives_up() -> None:
    module = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(25)), nn.Linear(4, 5, bias=False))
    with pytest.raises(ModelError, match=r"EK106 25 .* has \(4, 4\), the model has \(5, 4\)"):
        match(module, ALIKE)


@pytest.mark.shared_data
@pytest.mark.parametrize("width", [0.25, 1.0])
def test_the_real_imagenet_checkpoints_load(shared_data: Path, width: float) -> None:
    checkpoint = read_checkpoint(shared_data / f"mobilenet_v1_{width}_224_imagenet.safetensors")
    spec = ModelSpec(**spec_from_metadata(checkpoint.metadata))
    assert (spec.architecture, spec.width, spec.padding) == ("mobilenet_v1", width, "tf_same")
    module = registry.build(spec)
    shuffled = {f"m.{name}": checkpoint.tensors[name] for name in sorted(checkpoint.tensors, key=lambda n: n[::-1])}
    module.load_state_dict(match(module, shuffled), strict=True)
    for name, tensor in checkpoint.tensors.items():
        assert torch.equal(module.state_dict()[name], tensor)
