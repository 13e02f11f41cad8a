"""The named recipes, the learning-rate schedule, weight decay and first weights."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_runs import new_module

from edgekit.data import Augmentation
from edgekit.errors import UsageError
from edgekit.models import names
from edgekit.spec import ModelSpec
from edgekit.training import RECIPES, Recipe, initialise, recipe
from edgekit.training._optimization import learning_rate, optimizer
from edgekit.training.recipes import check

recipes = st.builds(
    Recipe,
    name=st.just("any"),
    optimizer=st.just("sgd"),
    learning_rate=st.floats(1e-4, 1.0),
    epochs=st.integers(6, 300),
    augmentation=st.just(Augmentation()),
    warmup_epochs=st.just(0.0) | st.floats(0.01, 5.0),
)


def test_the_recipes_are_those_people_use_for_mobilenets() -> None:
    assert tuple(RECIPES) == ("sgd", "rmsprop_v1", "rmsprop_v3", "cifar10", "finetune_cifar10", "finetune")
    common = Recipe(
        "sgd", "sgd", 0.01, 200, Augmentation(resized_crop=0.08, flip=True, colour_jitter=0.2), batch_size=128,
        momentum=0.9, weight_decay=4e-5, warmup_epochs=0, label_smoothing=0.0, clip_norm=2.0,
        initialisation="mobilenet",
    )  # fmt: skip
    v1 = dataclasses.replace(common, name="rmsprop_v1", optimizer="rmsprop", learning_rate=0.001, label_smoothing=0.1)
    v3 = dataclasses.replace(v1, name="rmsprop_v3", learning_rate=0.01, warmup_epochs=5)
    assert [recipe(name) for name in ("sgd", "rmsprop_v1", "rmsprop_v3")] == [common, v1, v3]


def test_the_recipe_of_the_model_that_ships_does_not_change() -> None:
    assert dataclasses.asdict(recipe("cifar10")) == {
        "name": "cifar10", "optimizer": "sgd", "learning_rate": 0.1, "epochs": 50, "batch_size": 64, "momentum": 0.9,
        "weight_decay": 3e-4, "warmup_epochs": 1, "label_smoothing": 0.1, "clip_norm": 2.0, "initialisation": "torch",
        "augmentation": {"resized_crop": None, "crop_padding": 4, "flip": True, "colour_jitter": 0.0, "erase": 0.0},
    }  # fmt: skip


def test_a_recipe_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match=r"EK001 --recipe: .*'adam'.*cifar10"):
        recipe("adam")


@pytest.mark.parametrize("name", RECIPES)
def test_every_named_recipe_can_be_followed(name: str) -> None:
    check(RECIPES[name])


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 1}, "--batch-size"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"learning_rate": math.nan}, "--learning-rate"),
        ({"learning_rate": 1e39}, "--learning-rate"),
        ({"weight_decay": -1e-4}, "--weight-decay"),
        ({"weight_decay": math.inf}, "--weight-decay"),
        ({"label_smoothing": 1.0}, "--label-smoothing"),
        ({"label_smoothing": math.nan}, "--label-smoothing"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_by_option(fields: dict[str, float], option: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(dataclasses.replace(recipe("sgd"), **fields))  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.where) == ("EK001", option)


@given(recipes, st.lists(st.floats(0.0, 1.0), min_size=2, max_size=20))
def test_the_learning_rate_rises_through_the_warm_up_and_falls_after_it(recipe: Recipe, shares: list[float]) -> None:
    progress = sorted(share * recipe.epochs for share in shares)
    rates = [learning_rate(recipe, epochs) for epochs in progress]
    assert all(0.0 <= rate <= recipe.learning_rate for rate in rates)
    for index, (before, after) in enumerate(itertools.pairwise(rates)):
        if progress[index + 1] < recipe.warmup_epochs:
            assert before <= after
        elif progress[index] >= recipe.warmup_epochs:
            assert before >= after


@given(recipes)
def test_the_schedule_passes_through_its_corners(recipe: Recipe) -> None:
    assert learning_rate(recipe, recipe.warmup_epochs) == pytest.approx(recipe.learning_rate)
    if recipe.warmup_epochs:
        assert learning_rate(recipe, recipe.warmup_epochs / 2) == pytest.approx(recipe.learning_rate / 2)
    assert learning_rate(recipe, (recipe.warmup_epochs + recipe.epochs) / 2) == pytest.approx(recipe.learning_rate / 2)
    assert learning_rate(recipe, recipe.epochs) == pytest.approx(0.0, abs=1e-15)


@given(recipes, st.integers(1, 300), st.floats(0.0, 1.0))
def test_a_stretched_recipe_has_the_same_schedule_over_other_epochs(recipe: Recipe, epochs: int, share: float) -> None:
    stretched = recipe.lasting(epochs)
    expected = learning_rate(recipe, share * recipe.epochs)
    assert learning_rate(stretched, share * epochs) == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert recipe.lasting(recipe.epochs) == recipe


def decay_by_name(module: nn.Module) -> dict[str, float]:
    groups = optimizer(module, recipe("sgd")).param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    return {name: decay[id(parameter)] for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("architecture", names())
def test_weight_decay_spares_depthwise_weights_biases_and_batch_normalisation(architecture: str) -> None:
    module = new_module(ModelSpec(architecture, 0.25, 10))
    decays = decay_by_name(module)
    layers = dict(module.named_modules())
    assert len(decays) == len(list(module.parameters()))
    for name, decay in decays.items():
        layer = layers[name.rpartition(".")[0]]
        depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
        spared = name.endswith(".bias") or isinstance(layer, nn.BatchNorm2d) or depthwise
        assert decay == (0.0 if spared else 4e-5), name
    assert {0.0, 4e-5} == set(decays.values())


def test_biased_convolutions_of_v1_have_no_decay_either() -> None:
    decays = decay_by_name(new_module(ModelSpec("mobilenet_v1", 0.25, 10, conv_bias=True)))
    assert decays["features.0.0.weight"] == 4e-5
    assert decays["features.0.0.bias"] == decays["features.1.0.weight"] == decays["features.1.0.bias"] == 0.0


def test_optimizers_have_the_settings_of_the_papers() -> None:
    module = new_module()
    sgd, rmsprop = (optimizer(module, recipe(name)) for name in ("sgd", "rmsprop_v3"))
    assert isinstance(sgd, torch.optim.SGD)
    assert [(group["momentum"], group["nesterov"]) for group in sgd.param_groups] == [(0.9, True)] * 2
    assert isinstance(rmsprop, torch.optim.RMSprop)
    assert [(g["momentum"], g["alpha"], g["eps"]) for g in rmsprop.param_groups] == [(0.9, 0.9, 1e-3)] * 2


def test_first_weights_are_xavier_uniform_in_depthwise_and_he_normal_in_other_convolutions() -> None:
    module = new_module(ModelSpec("mobilenet_v3_small", num_classes=10))
    state = torch.get_rng_state()
    initialise(module, recipe("rmsprop_v3"), seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    depthwise, others = [], []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            limit = math.sqrt(6 / (2 * layer.kernel_size[0] ** 2))
            depthwise.append(layer.weight.flatten() / limit)
        elif isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.kernel_size[0] ** 2
            others.append(layer.weight.flatten() * math.sqrt(fan_out / 2))
        elif isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
            assert not layer.bias.any()
    uniform, normal = torch.cat(depthwise), torch.cat(others)
    assert uniform.abs().max() <= 1
    assert uniform.std().item() == pytest.approx(1 / math.sqrt(3), rel=0.01)
    assert normal.std().item() == pytest.approx(1, rel=0.01)
    assert normal.abs().max() > 3


def test_first_weights_depend_on_the_seed_alone() -> None:
    def drawn(seed: int, start: int) -> torch.Tensor:
        module = new_module(seed=start)
        initialise(module, recipe("sgd"), seed)
        return torch.cat([parameter.flatten() for parameter in module.parameters()])

    assert torch.equal(drawn(5, start=0), drawn(5, start=1))
    assert not torch.equal(drawn(5, start=0), drawn(6, start=0))


def test_the_recipe_torch_leaves_the_weights_alone() -> None:
    module = new_module()
    before = [parameter.clone() for parameter in module.parameters()]
    initialise(module, recipe("cifar10"), 0)
    assert all(map(torch.equal, before, module.parameters()))
