"""Which pairs are refused because no verdict follows, and which are kept although they look bad."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.errors import ComparisonError
from edgekit.validate import DriftAccumulator, require_plausible

Array = np.ndarray[Any, Any]
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def model(truth: Array, accuracy: float, seed: int, *, classes: int = 10, sure: float = 6.0) -> Array:
    """Return logits that name the true class so often, and another one else."""
    generator = np.random.default_rng(seed)
    wrong = generator.random(len(truth)) >= accuracy
    answers = np.where(wrong, (truth + generator.integers(1, classes, len(truth))) % classes, truth)
    logits = generator.normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), answers] += sure
    return logits


def two(truth: Array, accuracy: float, *, classes: int = 10, sure: float = 6.0) -> tuple[Array, Array]:
    first, second = (model(truth, accuracy, seed, classes=classes, sure=sure) for seed in (1, 2))
    return first, second


def check(baseline: Array, candidate: Array, labels: Array | None, names: tuple[str, ...] | None = NAMES) -> None:
    accumulator = DriftAccumulator()
    accumulator.update(baseline, candidate, labels)
    require_plausible(accumulator.result(), names)


def truth_of(images: int, classes: int = 10) -> Array:
    return np.arange(images) * classes // images


def test_good_models_on_their_labels_are_kept() -> None:
    truth = truth_of(200)
    check(model(truth, 0.9, 1), model(truth, 0.88, 2), truth)


def test_labels_shifted_by_one_class_are_ek605_and_named() -> None:
    truth = truth_of(200)
    with pytest.raises(
        ComparisonError,
        match=r"EK605 the labels look renamed: images labelled airplane are answered automobile, automobile are "
        r"answered bird, bird are answered cat, … by both models; bring the classes",
    ):
        check(model(truth, 0.9, 1), model(truth, 0.88, 2), (truth - 1) % 10)


def test_two_classes_of_ten_that_were_exchanged_are_ek605() -> None:
    truth = truth_of(400)
    labels = np.where(truth == 3, 5, np.where(truth == 5, 3, truth))
    with pytest.raises(ComparisonError, match=r"EK605 .*labelled cat are answered dog, dog are answered cat by both"):
        check(model(truth, 0.9, 1), model(truth, 0.88, 2), labels)


@pytest.mark.parametrize("images", [60, 1000])
def test_shuffled_labels_are_ek605_with_how_sure_the_models_are(images: int) -> None:
    truth = truth_of(images)
    shuffled = np.random.default_rng(3).permutation(truth)
    with pytest.raises(ComparisonError, match=r"EK605 both models are right no more often than by chance"):
        check(model(truth, 0.9, 1), model(truth, 0.88, 2), shuffled)


def test_labels_of_another_set_are_ek605_where_classes_are_too_many_to_learn_a_renaming() -> None:
    truth = truth_of(500, 1000)
    with pytest.raises(ComparisonError, match=r"EK605 both models are right no more often than by chance"):
        check(*two(truth, 0.8, classes=1000, sure=10), (truth * 7 + 3) % 1000, None)


def test_one_label_for_all_images_is_ek605() -> None:
    truth = truth_of(300)
    with pytest.raises(ComparisonError, match="EK605"):
        check(model(truth, 0.9, 1), model(truth, 0.88, 2), np.zeros(300, np.int64))


def test_exchanged_labels_of_two_classes_are_ek605() -> None:
    truth = truth_of(60, 2)
    with pytest.raises(ComparisonError, match="EK605"):
        check(*two(truth, 0.95, classes=2), 1 - truth, ("no", "yes"))


def test_a_candidate_that_quantization_broke_is_a_result() -> None:
    truth = truth_of(1000)
    check(model(truth, 0.9, 1), model(truth, 0.1, 2), truth)
    collapsed = np.random.default_rng(4).normal(size=(1000, 10)) / 100
    collapsed[:, 7] += 9
    check(model(truth, 0.9, 1), collapsed, truth)


def test_two_broken_models_that_are_above_chance_are_a_result() -> None:
    truth = truth_of(400, 1000)
    check(*two(truth, 0.03, classes=1000, sure=10), truth, None)


def test_models_that_know_nothing_and_claim_nothing_are_a_result() -> None:
    truth = truth_of(500)
    check(*two(truth, 0.1, sure=0.5), truth)


def test_models_that_learned_little_and_lump_classes_together_are_a_result() -> None:
    truth = truth_of(1000)
    generator = np.random.default_rng(3)
    # Few answers for nearly everything, as after one epoch: cat, ship, frog for most, and ship for frogs.
    lumped = np.where(truth == 3, 3, np.where((truth < 8) & (truth != 6), 6, 8))
    # No class is called frog as often as airplanes are.
    share = np.where(truth == 0, 0.98, 0.7)
    lumped = np.where(generator.random(1000) < share, lumped, generator.integers(0, 10, 1000))
    check(*two(lumped, 0.98), truth)


@pytest.mark.parametrize("images", [1, 2, 8])
def test_few_images_are_no_evidence_against_their_labels(images: int) -> None:
    truth = truth_of(images)
    check(model(truth, 0.9, 1), model(truth, 0.88, 2), (truth + 1) % 10)


def test_images_of_one_class_only_are_kept() -> None:
    truth = np.full(200, 4)
    check(model(truth, 0.9, 1), model(truth, 0.88, 2), truth)


def test_honest_labels_are_never_refused_whatever_the_models() -> None:
    generator = np.random.default_rng(8)
    for seed in range(300):
        images, accuracy = int(generator.integers(20, 400)), float(generator.uniform(0.2, 1))
        truth = generator.integers(0, 10, images)
        # Softmax may claim more than twice what the model reaches.
        check(model(truth, accuracy, seed, sure=9), model(truth, accuracy, seed + 1000, sure=9), truth)


@pytest.mark.parametrize("dead", ["baseline", "candidate"])
def test_a_model_that_gives_the_same_for_every_image_is_ek604(dead: str) -> None:
    truth = truth_of(50)
    alive, same = model(truth, 0.9, 1), np.tile(np.arange(10.0), (50, 1))
    pair = (same, alive) if dead == "baseline" else (alive, same)
    with pytest.raises(ComparisonError, match=f"EK604 the {dead} gives the same output for all 50 images"):
        check(*pair, truth)
    with pytest.raises(ComparisonError, match="EK604"):
        check(*pair, None)


def test_sums_in_another_order_do_not_hide_a_dead_model() -> None:
    truth = truth_of(50)
    same = np.tile(np.arange(10.0), (50, 1)) * (1 + 1e-7 * np.random.default_rng(2).normal(size=(50, 1)))
    with pytest.raises(ComparisonError, match="EK604"):
        check(model(truth, 0.9, 1), same, truth)


def test_one_image_does_not_tell_a_dead_model() -> None:
    check(np.ones((1, 10)), np.ones((1, 10)), None)
