"""Channel groups: who goes together, what it costs, and that taking a silent channel out changes nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_models import ARCHITECTURES, noise, small
from torch import nn

from edgekit.errors import PruningError
from edgekit.models import build, profile
from edgekit.pruning._structure import ChannelGroup, Structure, remove, structure


def silence(module: nn.Module, group: ChannelGroup, channels: list[int]) -> None:
    """Make channels of a group give nothing but zeros everywhere."""
    with torch.no_grad():
        for name in group.norms or group.layers:
            for parameter in module.get_submodule(name).parameters():
                parameter[channels] = 0.0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_costs_are_those_of_the_profile(architecture: str) -> None:
    module, spec = small(architecture)
    parts, cost = structure(module, spec.input_size), profile(module, spec.input_size)
    assert parts.macs(parts.channels) == cost.macs
    assert parts.parameters(parts.channels) == cost.parameters
    assert [layer.name for layer in parts.layers] == [layer.name for layer in cost.layers]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("padding", ["torch", "tf_same"])
def test_taking_silent_channels_out_of_every_group_changes_no_output(architecture: str, padding: str) -> None:
    module, spec = small(architecture, padding)
    parts = structure(module, spec.input_size)
    kept = {}
    for group in parts.groups:
        gone = list(range(0, group.channels, 3))
        silence(module, group, gone)
        kept[group.name] = sorted(set(range(group.channels)) - set(gone))
    smaller, description = remove(module, spec, kept)
    images = noise()
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), module(images), rtol=1e-4, atol=1e-5)
    counts = [len(indices) for indices in kept.values()]
    assert parts.macs(counts) == profile(smaller, spec.input_size).macs
    assert parts.parameters(counts) == profile(smaller, spec.input_size).parameters
    again = build(description)
    again.load_state_dict(smaller.state_dict())
    assert description.channels is not None
    assert dataclasses.replace(description, channels=None) == spec


def test_layers_that_a_residual_connection_adds_are_one_group() -> None:
    module, spec = small("mobilenet_v2")
    shared = [group.layers for group in structure(module, spec.input_size).groups if len(group.layers) > 1]
    # The stages with repeats: 2, 3, 4, 3 and 3 blocks, each ending in a projection without activation.
    assert [len(layers) for layers in shared] == [2, 3, 4, 3, 3]
    assert all(name.endswith("conv.2") for layers in shared for name in layers)


def test_a_pruned_model_is_pruned_again() -> None:
    module, spec = small("mobilenet_v3_small")
    for _ in range(2):
        parts = structure(module, spec.input_size)
        before = parts.macs(parts.channels)
        halves = {group.name: list(range(max(1, group.channels // 2))) for group in parts.groups}
        module, spec = remove(module, spec, halves)
        assert profile(module, spec.input_size).macs < before / 2


def test_a_group_without_channels_is_ek803() -> None:
    module, spec = small("mobilenet_v1")
    with pytest.raises(PruningError, match="no channel of the layer would be left") as caught:
        remove(module, spec, {"features.0.0": []})
    assert (caught.value.code, caught.value.where) == ("EK803", "features.0.0")


def test_a_model_that_cannot_be_followed_is_ek801() -> None:
    class Opaque(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("not today")

    module, spec = small("mobilenet_v1")
    module.features[3] = Opaque()
    with pytest.raises(PruningError, match="not today") as caught:
        structure(module, spec.input_size)
    assert caught.value.code == "EK801"


V1_MODULE, V1_SPEC = small("mobilenet_v1")
V1_PARTS: Structure = structure(V1_MODULE, V1_SPEC.input_size)


@settings(max_examples=15, deadline=None)
@given(st.tuples(*(st.integers(1, group.channels) for group in V1_PARTS.groups)))
def test_any_choice_of_channels_costs_what_was_counted(counts: tuple[int, ...]) -> None:
    kept = {group.name: list(range(count)) for group, count in zip(V1_PARTS.groups, counts, strict=True)}
    smaller, _ = remove(V1_MODULE, V1_SPEC, kept)
    assert profile(smaller, V1_SPEC.input_size).macs == V1_PARTS.macs(counts)
