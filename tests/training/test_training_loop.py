"""Training itself: it learns, it is repeatable, and it can be interrupted anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training_runs import IMAGES, PREPROCESSING, QUICK, SAMPLE, SPEC, new_module, run, same, timeless, weights

from edgekit.data import Augmentation, open_images
from edgekit.errors import DataError, TrainingError, UsageError
from edgekit.spec import ModelSpec
from edgekit.training import STATE_FILE, EpochResult, Recipe, Step, recipe, train
from edgekit.training._loader import TrainingImages

ONE_EPOCH = dataclasses.replace(QUICK, epochs=1)


class Interrupted(BaseException):
    """Stands for Ctrl-C: no `except Exception` on the way may swallow it."""


def interrupt_at_step(epoch: int, step: int) -> Callable[[Step], None]:
    def on_step(now: Step) -> None:
        if (now.epoch, now.step) == (epoch, step):
            raise Interrupted

    return on_step


def interrupt_after_epoch(epoch: int) -> Callable[[EpochResult, torch.nn.Module], None]:
    def on_epoch(result: EpochResult, module: torch.nn.Module) -> None:
        if result.epoch == epoch:
            raise Interrupted

    return on_epoch


def stored(folder: Path) -> dict[str, object]:
    content: dict[str, object] = torch.load(folder / STATE_FILE, weights_only=True)
    return content


def test_training_learns(tmp_path: Path) -> None:
    """From ten classes to the two that are there, automobiles and frogs, and then to tell these apart."""
    assert SAMPLE.calibration.labels is not None
    pair = [index for index, label in enumerate(SAMPLE.calibration.labels) if label in (1, 6)]
    images = SAMPLE.calibration.select(pair)
    learner = Recipe("learner", "sgd", 0.02, 5, Augmentation(), batch_size=16)
    spec = dataclasses.replace(SPEC, stem_stride=1)
    trained = run(tmp_path, spec=spec, recipe=learner, images=images, evaluation=images, evaluate_every=3)
    losses = [result.loss for result in trained.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 2.3
    assert losses[-1] < 1.7
    assert trained.history[-1].train_top1 > 50
    assert [result.evaluated for result in trained.history] == [0, 0, len(pair), 0, len(pair)]
    assert [result.top1 is None for result in trained.history] == [True, True, False, True, False]
    assert trained.broken == ()
    assert not trained.module.training


def test_the_seed_decides_the_result(tmp_path: Path) -> None:
    first, again, other = (run(tmp_path, recipe=ONE_EPOCH, seed=seed) for seed in (1, 1, 2))
    assert same(weights(first), weights(again))
    assert timeless(first.history) == timeless(again.history)
    assert not same(weights(first), weights(other))


def test_the_random_state_of_the_caller_is_neither_used_nor_changed(tmp_path: Path) -> None:
    spec = ModelSpec("mobilenet_v2", 0.1, 10, 32)
    results = []
    for start in (5, 6):
        torch.manual_seed(start)
        before = torch.get_rng_state()
        results.append(run(tmp_path, spec=spec, recipe=ONE_EPOCH))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(weights(results[0]), weights(results[1]))


@pytest.mark.parametrize("architecture", ["mobilenet_v1", "mobilenet_v2"])
def test_an_interrupted_run_resumes_to_the_same_result(tmp_path: Path, architecture: str) -> None:
    """V2 has dropout, so its result depends on torch's random numbers too."""
    spec = ModelSpec(architecture, 0.25, 10, 32)
    whole = run(tmp_path / "whole", spec=spec)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", spec=spec, on_epoch=interrupt_after_epoch(1))
    torch.rand(7)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", spec=spec, resume=True, on_step=interrupt_at_step(3, 2))
    resumed = run(tmp_path / "parts", spec=spec, resume=True)
    assert same(weights(resumed), weights(whole))
    assert timeless(resumed.history) == timeless(whole.history)
    first, second = stored(tmp_path / "whole"), stored(tmp_path / "parts")
    assert same(first["optimizer"], second["optimizer"])
    assert same(first["model"], second["model"])
    assert first["run"] == second["run"]


def test_resuming_calls_again_for_the_last_epoch_done_with_its_weights(tmp_path: Path) -> None:
    """Its call may be what the interruption prevented."""
    trained = run(tmp_path, recipe=ONE_EPOCH)
    calls: list[tuple[EpochResult, bool, bool]] = []

    def on_epoch(result: EpochResult, module: torch.nn.Module) -> None:
        calls.append((result, module.training, same(dict(module.state_dict()), weights(trained))))

    resumed = run(tmp_path, recipe=ONE_EPOCH, resume=True, on_epoch=on_epoch)
    assert calls == [(trained.history[0], False, True)]
    assert resumed.history == trained.history


def test_steps_are_reported_with_running_means(tmp_path: Path) -> None:
    steps: list[Step] = []
    trained = run(tmp_path, on_step=steps.append)
    assert [(step.epoch, step.step) for step in steps] == [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3)]
    assert {(step.epochs, step.steps) for step in steps} == {(3, 3)}
    ends = [(step.loss, step.top1) for step in steps if step.step == step.steps]
    assert ends == [(result.loss, result.train_top1) for result in trained.history]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_the_smoothed_cross_entropy(tmp_path: Path, smoothing: float) -> None:
    quick = dataclasses.replace(ONE_EPOCH, label_smoothing=smoothing, batch_size=len(IMAGES))
    trained = run(tmp_path, recipe=quick, seed=4)
    loader = TrainingImages(IMAGES, PREPROCESSING, quick.augmentation, seed=4)
    (images, labels), *_ = loader.epoch(0, len(IMAGES))
    with torch.no_grad():
        logarithms = F.log_softmax(new_module().train()(images), dim=1)
    targets = F.one_hot(labels, SPEC.num_classes) * (1 - smoothing) + smoothing / SPEC.num_classes
    assert trained.history[0].loss == pytest.approx(-(targets * logarithms).sum(1).mean().item(), rel=1e-5)


@pytest.mark.parametrize("limit", [None, 0.05])
def test_the_gradient_is_clipped_to_its_limit(tmp_path: Path, limit: float | None) -> None:
    module, norms = new_module(), []

    def on_step(step: Step) -> None:
        gradients = [parameter.grad.norm() for parameter in module.parameters() if parameter.grad is not None]
        norms.append(torch.stack(gradients).norm().item())

    quick = dataclasses.replace(ONE_EPOCH, clip_norm=limit)
    train(module, SPEC, PREPROCESSING, quick, IMAGES, tmp_path, on_step=on_step)
    assert len(norms) == 3
    assert all(norm > 0.05 if limit is None else norm == pytest.approx(0.05, rel=1e-3) for norm in norms)


@pytest.mark.parametrize("name", ["rmsprop_v1", "rmsprop_v3", "finetune"])
def test_the_other_recipes_run(tmp_path: Path, name: str) -> None:
    quick = dataclasses.replace(recipe(name).lasting(1), batch_size=32)
    trained = run(tmp_path, spec=ModelSpec("mobilenet_v3_small", 0.25, 10, 32), recipe=quick)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights(trained).values())
    assert 1.5 < trained.history[0].loss < 4


def test_a_huge_learning_rate_is_told_as_divergence(tmp_path: Path) -> None:
    wild = dataclasses.replace(QUICK, learning_rate=1e30, clip_norm=None)
    with pytest.raises(TrainingError, match=r"EK302 .*epoch 1.*lower --learning-rate"):
        run(tmp_path, recipe=wild)
    assert not (tmp_path / STATE_FILE).exists()


def test_weights_that_the_last_step_of_an_epoch_broke_are_not_kept(tmp_path: Path) -> None:
    """One step an epoch: its loss was finite, what it led to is not."""
    wild = Recipe("wild", "rmsprop", 3e38, 2, QUICK.augmentation, batch_size=96, clip_norm=None)
    with pytest.raises(TrainingError, match=r"EK302 .* became NaN or infinite in epoch 1"):
        run(tmp_path, recipe=wild)
    assert not (tmp_path / STATE_FILE).exists()


def test_images_that_cannot_be_trained_on_are_refused_before_the_first_step(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for index in range(3):
        (flat / f"{index}.jpg").write_bytes(IMAGES.encoded(index))
    unlabelled = open_images(flat)
    for options in ({"images": unlabelled}, {"evaluation": unlabelled}):
        with pytest.raises(DataError, match="EK204"):
            run(tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="EK208"):
        run(tmp_path, images=IMAGES.select([0]))
    with pytest.raises(UsageError, match="EK001 --batch-size"):
        run(tmp_path, recipe=dataclasses.replace(QUICK, batch_size=1))
    assert not (tmp_path / STATE_FILE).exists()
