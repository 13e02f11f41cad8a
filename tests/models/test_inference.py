"""Telling a model's description from the shapes of its weights alone."""

from __future__ import annotations

import random

import pytest
import torch

from edgekit.errors import ModelError
from edgekit.models import registry
from edgekit.models._inference import infer_spec
from edgekit.spec import ModelSpec

CASES = [ModelSpec(name, width) for name in registry.names() for width in registry.FAMILIES[name].widths]
CASES += [ModelSpec("mobilenet_v1", 0.37, 10, conv_bias=True), ModelSpec("mobilenet_v2", 0.6, 1001)]
CASES += [ModelSpec("mobilenet_v3_small", 1.25, 2), ModelSpec("mobilenet_v1", 0.333, 3)]


def shapes(spec: ModelSpec) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return dict(registry.build(spec).state_dict())


@pytest.mark.parametrize("spec", CASES, ids=lambda spec: f"{spec.architecture} {spec.width}")
def test_architecture_width_classes_and_biases_are_told(spec: ModelSpec) -> None:
    assert infer_spec(shapes(spec)) == spec


def test_neither_names_nor_order_play_a_part() -> None:
    tensors = list(shapes(ModelSpec("mobilenet_v2", 0.5, 7)).items())
    layers = {name.rpartition(".")[0] for name, _ in tensors}
    numbers = {layer: number for number, layer in enumerate(sorted(layers, key=lambda name: name[::-1]))}
    random.Random(0).shuffle(tensors)
    renamed = {f"x{numbers[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor for name, tensor in tensors}
    assert infer_spec(renamed) == ModelSpec("mobilenet_v2", 0.5, 7)


def test_a_width_that_shapes_do_not_tell_apart_is_one_with_the_same_shapes() -> None:
    tensors = shapes(ModelSpec("mobilenet_v2", 1.234))
    inferred = shapes(infer_spec(tensors))
    assert {name: tensor.shape for name, tensor in inferred.items()} == {n: t.shape for n, t in tensors.items()}


def test_another_network_is_ek105() -> None:
    tensors = {"conv.weight": torch.ones(8, 3, 3, 3), "fc.weight": torch.ones(10, 8)}
    with pytest.raises(ModelError, match=r"EK105 w\.pth: .*; give --arch, one of mobilenet_v1, mobilenet_v2"):
        infer_spec(tensors, where="w.pth")


def test_channels_of_no_width_are_ek105() -> None:
    tensors = shapes(ModelSpec("mobilenet_v1"))
    with torch.device("meta"):
        tensors["features.5.3.weight"] = torch.ones(200, 256, 1, 1)
    with pytest.raises(ModelError, match=r"EK105 .*are those of mobilenet_v1, but no width multiplier"):
        infer_spec(tensors)


def test_odd_tensors_are_ek105_and_nothing_worse() -> None:
    tensors = {"a": torch.ones(()), "b.weight": torch.ones(()), "c.weight": torch.ones(1, 2, 3), "": torch.ones(1)}
    with pytest.raises(ModelError, match="EK105"):
        infer_spec(tensors)
