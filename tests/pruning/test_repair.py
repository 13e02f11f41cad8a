"""Repair and re-estimation: nothing pruned is nothing changed, and what was lost comes back without labels."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from pruning_models import ARCHITECTURES, noise, small
from torch import nn

from edgekit.data import batches, sample
from edgekit.errors import PruningError, UsageError
from edgekit.models import load
from edgekit.pruning import Structured, prune_channels
from edgekit.pruning._repair import reestimate, repair


@torch.no_grad()
def divergence(module: nn.Module, other: nn.Module, images: torch.Tensor) -> float:
    wanted, given = F.log_softmax(module(images), 1), F.log_softmax(other(images), 1)
    return float(F.kl_div(given, wanted, reduction="batchmean", log_target=True))


def shipped_images(count: int, first: bool) -> list[torch.Tensor]:
    images = sample().calibration if first else sample().evaluation
    return [torch.from_numpy(batch.images) for batch in batches(images.spread(count), load(None).preprocessing, 16)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_that_lost_nothing_is_not_changed(architecture: str) -> None:
    module, _ = small(architecture)
    repaired = copy.deepcopy(module)
    repair(module, repaired, {}, [noise(16)])
    with torch.no_grad():
        torch.testing.assert_close(repaired(noise()), module(noise()), rtol=1e-3, atol=1e-4)


# Without residual connections the logits of V1's random weights hardly depend on the image; V3 large is V3 small again.
@pytest.mark.parametrize("architecture", ["mobilenet_v2", "mobilenet_v3_small"])
def test_repair_brings_a_pruned_model_nearer(architecture: str) -> None:
    """Random weights are the hard case: no channel can stand in for another."""
    module, spec = small(architecture)
    images = [noise(64)]
    plain, repaired = (
        prune_channels(module, spec, Structured("macs", 0.7, widths="uniform", recover=how), images).module
        for how in ("none", "repair")
    )
    unseen = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    assert divergence(module, repaired, unseen) < divergence(module, plain, unseen)


def test_the_shipped_model_keeps_its_answers_at_seven_tenths_of_the_multiply_adds() -> None:
    """On images that it was not repaired with; measurement of normalisations alone is not enough."""
    shipped = load(None)
    seen, unseen = shipped_images(32, first=True), torch.cat(shipped_images(48, first=False))
    lost = {}
    for how in ("none", "bn", "repair"):
        pruned = prune_channels(
            shipped.module, shipped.spec, Structured("macs", 0.7, widths="uniform", recover=how), seen
        )
        lost[how] = divergence(shipped.module, pruned.module, unseen)
        assert pruned.macs[1] <= 0.7 * pruned.macs[0]
        assert all(after % 8 == 0 for after in pruned.after)
    assert lost["repair"] < lost["bn"] / 2
    assert lost["repair"] < lost["none"] / 2


def test_normalisations_are_measured_anew() -> None:
    module, _ = small("mobilenet_v2")
    images = noise(32)
    reestimate(module, [images[:16], images[16:]])
    convolution, norm = module.features[0][0], module.features[0][1]  # type: ignore[index]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        outputs = torch.stack([convolution(half) for half in (images[:16], images[16:])])
    torch.testing.assert_close(norm.running_mean, outputs.mean((0, 1, 3, 4)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, outputs.var((1, 3, 4)).mean(0), rtol=1e-4, atol=1e-5)
    assert not any(layer.training for layer in module.modules())
    assert all(layer.momentum == 0.1 for layer in module.modules() if isinstance(layer, nn.BatchNorm2d))


@pytest.mark.parametrize("importance", ["taylor", "l1", "l2", "bn_scale", "fpgm"])
def test_every_importance_prunes(importance: str) -> None:
    module, spec = small("mobilenet_v3_small")
    how = Structured("params", 0.5, importance=importance, widths="uniform", recover="bn")  # type: ignore[arg-type]
    pruned = prune_channels(module, spec, how, [noise()])
    assert pruned.parameters[1] <= 0.5 * pruned.parameters[0]


def test_sensitivity_leaves_more_where_more_is_lost() -> None:
    """A group whose channels are nearly silent gives them up first."""
    module, spec = small("mobilenet_v1")
    with torch.no_grad():
        for layer in (module.get_submodule("features.4.4"), module.get_submodule("features.5.1")):
            assert isinstance(layer, nn.BatchNorm2d)
            layer.weight.mul_(1e-4)
            layer.bias.mul_(1e-4)
    pruned = prune_channels(module, spec, Structured("macs", 0.9, recover="none"), [noise()])
    position = pruned.groups.index("features.4.3")
    assert pruned.after[position] < pruned.before[position]
    assert [curve.group for curve in pruned.sensitivities] == list(pruned.groups)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.5, -1.0, float("nan")])
def test_a_ratio_that_is_none_is_ek001(ratio: float) -> None:
    module, spec = small("mobilenet_v1")
    with pytest.raises(UsageError) as caught:
        prune_channels(module, spec, Structured("macs", ratio), [noise()])
    assert (caught.value.code, caught.value.where) == ("EK001", "--macs")


@pytest.mark.parametrize(
    ("how", "what"),
    [
        (Structured("macs", 0.5), "--recover repair and --importance taylor and --widths sensitivity need images"),
        (Structured("macs", 0.5, importance="l1", widths="uniform", recover="bn"), "--recover bn needs images"),
    ],
)
def test_without_images_what_needs_them_is_ek804(how: Structured, what: str) -> None:
    module, spec = small("mobilenet_v1")
    with pytest.raises(PruningError, match=what) as caught:
        prune_channels(module, spec, how, [])
    assert caught.value.code == "EK804"


def test_without_images_weights_alone_prune() -> None:
    module, spec = small("mobilenet_v1")
    how = Structured("macs", 0.5, importance="l2", widths="uniform", recover="none")
    before, after = prune_channels(module, spec, how, []).macs
    assert after <= 0.5 * before
