"""Accuracy and drift, from logits that stream by in batches."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.errors import ComparisonError, DataError
from edgekit.results import SQNR_LIMIT_DB
from edgekit.validate import (
    DriftAccumulator,
    EvaluationAccumulator,
    PairedEvaluation,
    drift,
    evaluate,
    evaluate_pair,
)

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Images:
    images: Array
    labels: Array | None


def logits_of(seed: int, images: int = 40, classes: int = 10) -> Array:
    return np.random.default_rng(seed).normal(size=(images, classes)).astype(np.float32) * 3


def paired(baseline: Array, candidate: Array, labels: Array | None = None) -> PairedEvaluation:
    accumulator = DriftAccumulator()
    accumulator.update(baseline, candidate, labels)
    return accumulator.result()


pairs_of_logits = st.integers(1, 12).flatmap(
    lambda images: st.integers(2, 8).flatmap(
        lambda classes: hnp.arrays(
            np.float32, (2, images, classes), elements=st.floats(-30, 30, width=32, allow_subnormal=False)
        )
    )
)


def test_identical_models_agree_fully_with_no_divergence_and_the_bounded_sqnr() -> None:
    logits = logits_of(0)
    found = drift(paired(logits, logits, np.zeros(40, np.int64)))
    assert found.top1_delta_pp is not None
    assert found.top1_delta_pp.value == 0
    assert found.agreement.value == 100
    assert dataclasses.astuple(found.kl) == (0, 0, 0)
    assert dataclasses.astuple(found.sqnr_db) == (SQNR_LIMIT_DB,) * 3
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_kl_is_that_of_scipy_from_baseline_to_candidate() -> None:
    baseline, candidate = logits_of(1), logits_of(2)
    expected = scipy.special.rel_entr(
        scipy.special.softmax(baseline.astype(float), axis=1),
        scipy.special.softmax(candidate.astype(float), axis=1),
    ).sum(axis=1)
    np.testing.assert_allclose(paired(baseline, candidate).kl, expected, rtol=1e-9)


def test_kl_stays_finite_where_a_softmax_underflows() -> None:
    found = paired(np.array([[500.0, -500.0]]), np.array([[-500.0, 500.0]]))
    assert found.kl == pytest.approx([1000.0])


def test_sqnr_is_the_ratio_of_summed_powers_in_decibels() -> None:
    baseline = np.array([[3.0, 4.0], [0.0, 5.0]])
    candidate = baseline + np.array([[0.5, 0.0], [0.0, 0.5]])
    assert drift(paired(baseline, candidate)).sqnr_db.value == pytest.approx(20.0)


def test_a_candidate_unlike_a_silent_baseline_has_the_lowest_sqnr() -> None:
    assert drift(paired(np.zeros((3, 2)), np.ones((3, 2)))).sqnr_db.value == -SQNR_LIMIT_DB


def test_the_top1_difference_counts_gains_and_losses_in_points() -> None:
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    baseline, candidate = np.array([right, right, right, wrong]), np.array([right, wrong, wrong, right])
    pair = paired(baseline, candidate, np.zeros(4, np.int64))
    found = drift(pair)
    assert found.top1_delta_pp is not None
    assert found.top1_delta_pp.value == -25.0
    assert (pair.baseline.accuracy.top1, pair.candidate.accuracy.top1) == (75.0, 50.0)
    assert found.agreement.value == 25.0


def test_without_labels_there_is_no_accuracy_but_still_agreement() -> None:
    pair = paired(logits_of(3), logits_of(4))
    assert pair.baseline.accuracy.top1 is None
    assert drift(pair).top1_delta_pp is None
    assert drift(pair).n == 40


def test_top5_counts_a_label_among_the_five_highest_only() -> None:
    accumulator = EvaluationAccumulator()
    accumulator.update(np.tile(np.arange(10.0), (10, 1)), np.arange(10))
    assert accumulator.result().accuracy.top1 == 10.0
    assert accumulator.result().accuracy.top5 == 50.0


def test_top5_is_left_out_with_five_classes_as_it_would_always_be_100() -> None:
    accumulator = EvaluationAccumulator()
    accumulator.update(logits_of(5, classes=5), np.zeros(40, np.int64))
    assert accumulator.result().accuracy.top5 is None


def test_of_equal_logits_the_first_class_counts_as_argmax_has_it() -> None:
    logits = np.random.default_rng(6).integers(0, 3, (200, 8)).astype(np.float32)
    labels = np.random.default_rng(7).integers(0, 8, 200)
    accumulator = EvaluationAccumulator()
    accumulator.update(logits, labels)
    found = accumulator.result()
    order = np.argsort(-logits, axis=1, kind="stable")
    assert found.top1 is not None
    assert found.top5 is not None
    np.testing.assert_array_equal(found.top1, logits.argmax(axis=1) == labels)
    np.testing.assert_array_equal(found.top5, (order[:, :5] == labels[:, None]).any(axis=1))


@given(pairs_of_logits)
def test_agreement_is_symmetric_and_kl_is_never_negative(logits: Array) -> None:
    there, back = paired(logits[0], logits[1]), paired(logits[1], logits[0])
    np.testing.assert_array_equal(there.agrees, back.agrees)
    assert (there.kl >= 0).all()
    assert (paired(logits[0], logits[0]).kl == 0).all()


@settings(max_examples=25)
@given(pairs_of_logits, st.sampled_from([2.0**-9, 0.5, 4.0, 2.0**11]))
def test_sqnr_does_not_depend_on_the_scale_of_the_logits(logits: Array, scale: float) -> None:
    # Powers of two, so that scaling is exact and so is the comparison.
    wide = logits.astype(np.float64)
    found, scaled = drift(paired(wide[0], wide[1])), drift(paired(wide[0] * scale, wide[1] * scale))
    assert dataclasses.astuple(scaled.sqnr_db) == pytest.approx(dataclasses.astuple(found.sqnr_db), abs=1e-9)


@settings(max_examples=50)
@given(pairs_of_logits, st.data())
def test_the_split_into_batches_changes_nothing(logits: Array, data: st.DataObject) -> None:
    images, classes = logits.shape[1:]
    labels = data.draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    cuts = sorted(data.draw(st.sets(st.integers(0, images))) | {0, images})
    accumulator = DriftAccumulator()
    for start, stop in pairwise(cuts):
        accumulator.update(logits[0, start:stop], logits[1, start:stop], labels[start:stop])
    split, whole = accumulator.result(), paired(logits[0], logits[1], labels)
    for name in ("agrees", "kl", "signal", "noise"):
        np.testing.assert_array_equal(getattr(split, name), getattr(whole, name))
    assert split.baseline.accuracy == whole.baseline.accuracy
    assert split.candidate.accuracy == whole.candidate.accuracy


def test_46_bytes_an_image_are_kept_and_no_logits() -> None:
    pair = paired(logits_of(8, 50, 1000), logits_of(9, 50, 1000), np.zeros(50, np.int64))
    assert pair.baseline.labels is pair.candidate.labels
    kept: list[Array | None] = [pair.kl, pair.signal, pair.noise, pair.baseline.labels]
    for side in (pair.baseline, pair.candidate):
        kept += [side.answers, side.confidence, side.top5]
    assert sum(array.nbytes for array in kept if array is not None) == 46 * 50
    fields = [*dataclasses.fields(pair), *dataclasses.fields(pair.baseline)]
    assert {field.name for field in fields} == {
        "baseline", "candidate", "kl", "signal", "noise", "num_classes", "answers", "confidence", "labels", "top5",
        "varies",
    }  # fmt: skip


def test_a_pair_reads_each_batch_once_and_reports_progress() -> None:
    read: list[int] = []
    advanced: list[int] = []

    def batches() -> Any:
        for index, size in enumerate((3, 5)):
            read.append(index)
            yield Images(np.full((size, 3, 2, 2), index, np.float32), np.zeros(size, np.int64))

    def run(images: Array) -> Array:
        means = images.mean(axis=(1, 2, 3))
        return np.stack([means, 0.5 - means], axis=1)

    pair = evaluate_pair(run, run, batches(), progress=advanced.append)
    assert read == [0, 1]
    assert advanced == [3, 5]
    assert pair.baseline.accuracy.top1 == 62.5
    assert evaluate(run, batches(), progress=advanced.append).accuracy == pair.baseline.accuracy
    assert advanced == [3, 5, 3, 5]


def test_no_image_is_ek208() -> None:
    with pytest.raises(DataError, match="EK208"):
        evaluate_pair(lambda images: images, lambda images: images, [])
    with pytest.raises(DataError, match="EK208"):
        evaluate(lambda images: images, [])


def test_different_class_counts_are_ek601() -> None:
    with pytest.raises(ComparisonError, match=r"EK601 one model has 10 classes and the other 8"):
        paired(logits_of(0), logits_of(0, classes=8))


def test_a_class_count_that_changes_between_batches_is_ek601() -> None:
    accumulator = EvaluationAccumulator()
    accumulator.update(logits_of(0), None)
    with pytest.raises(ComparisonError, match="EK601"):
        accumulator.update(logits_of(0, classes=8), None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_ek602_and_the_model_is_named(value: float) -> None:
    logits = logits_of(0)
    broken = logits.copy()
    broken[3, 2] = value
    with pytest.raises(ComparisonError, match="EK602 the candidate gives NaN or infinity"):
        paired(logits, broken)
    with pytest.raises(ComparisonError, match="EK602 the baseline gives NaN or infinity"):
        paired(broken, logits)


def test_an_error_midway_says_on_which_images() -> None:
    batches = [Images(np.full((4, 3, 2, 2), value, np.float32), None) for value in (1.0, 2.0, np.nan)]
    with pytest.raises(ComparisonError, match="EK602 images 9 to 12: the baseline gives NaN or infinity"):
        evaluate_pair(lambda images: images[:, 0, 0], lambda images: images[:, 0, 0], batches)
    with pytest.raises(ComparisonError, match="EK602 images 9 to 12: the model gives NaN or infinity"):
        evaluate(lambda images: images[:, 0, 0], batches)


def test_an_output_that_is_no_row_of_logits_is_ek601() -> None:
    with pytest.raises(ComparisonError, match="EK601"):
        evaluate(lambda images: images, [Images(np.zeros((1, 3, 2, 2), np.float32), None)])


def test_labels_on_some_images_only_are_ek204() -> None:
    accumulator = EvaluationAccumulator()
    accumulator.update(logits_of(0), np.zeros(40, np.int64))
    with pytest.raises(DataError, match="EK204"):
        accumulator.update(logits_of(1), None)


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_that_is_no_class_of_the_model_is_ek207(label: int) -> None:
    with pytest.raises(DataError, match=f"EK207 label {label} is not among the 10 classes"):
        paired(logits_of(0), logits_of(0), np.full(40, label))
