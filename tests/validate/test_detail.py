"""What lies behind a drift: classes, calibration, single images, and what they cost in memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.validate import DriftAccumulator, PairedEvaluation, drift, drift_detail
from edgekit.validate._calibration_error import expected_calibration_error
from edgekit.validate._classes import class_changes

Array = np.ndarray[Any, Any]
NAMES = ("cat", "dog", "owl")


def paired(baseline: Array, candidate: Array, labels: Array | None) -> PairedEvaluation:
    accumulator = DriftAccumulator()
    accumulator.update(baseline, candidate, labels)
    return accumulator.result()


def answering(answers: Array, classes: int = 3, height: float = 4.0) -> Array:
    """Return logits whose highest is the answer, the higher the later the image."""
    logits = np.zeros((len(answers), classes))
    logits[np.arange(len(answers)), answers] = height + np.arange(len(answers)) / 1000
    return logits


def names(count: int) -> list[str]:
    return [f"{index:04}.png" for index in range(count)]


def test_a_flip_names_the_image_and_both_answers_the_furthest_apart_first() -> None:
    before, after = answering(np.array([0, 1, 2, 0])), answering(np.array([0, 2, 2, 1]))
    found = drift_detail(paired(before, after, np.array([0, 1, 2, 1])), names(4), NAMES, None)
    assert [dataclasses.astuple(flip)[:5] for flip in found.flips] == [
        ("0003.png", 3, 1, 0, 1),
        ("0001.png", 1, 1, 1, 2),
    ]
    assert found.flips[0].kl > found.flips[1].kl
    assert (found.worst_kl, found.worst_kl_image) == (found.flips[0].kl, "0003.png")


def test_without_labels_there_are_flips_and_kl_and_nothing_that_needs_labels() -> None:
    before, after = answering(np.array([0, 1])), answering(np.array([0, 2]))
    found = drift_detail(paired(before, after, None), names(2), None, 1.0, need=1.0)
    assert [flip.label for flip in found.flips] == [None]
    assert found.worst_kl > 0
    assert (found.significance, found.non_inferiority, found.classes) == (None, None, ())
    assert (found.top5_delta_pp, found.baseline_ece, found.candidate_ece) == (None, None, None)


def test_significance_holds_the_counts_that_the_change_of_accuracy_is_made_of() -> None:
    labels = np.zeros(200, np.int64)
    before = answering(np.where(np.arange(200) < 190, 0, 1))
    after = answering(np.where((np.arange(200) >= 20) & (np.arange(200) < 195), 0, 1))
    pair = paired(before, after, labels)
    found = drift_detail(pair, names(200), NAMES, 12.0, need=2.0)
    moved = drift(pair).top1_delta_pp
    assert found.significance is not None
    assert found.non_inferiority is not None
    assert moved is not None
    assert (found.significance.gained, found.significance.lost) == (5, 20)
    assert found.significance.bootstrap_pp.value == moved.value == -7.5
    assert found.significance.p_value == pytest.approx(0.0041, abs=1e-4)  # of 25 coins at most 5 heads, twice
    assert found.significance.detectable_drop_pp is not None
    assert found.significance.needed is not None
    assert (found.significance.needed.drop_pp, found.non_inferiority.margin_pp) == (2.0, 12.0)
    assert found.significance.needed.images > 200


def test_the_change_of_top5_has_an_interval_where_there_is_a_top5() -> None:
    labels = np.full(50, 9)
    before, after = np.tile(np.arange(10.0), (50, 1)), np.tile(np.arange(10.0), (50, 1))
    after[:4, 9] = -1
    found = drift_detail(paired(before, after, labels), names(50), None, None).top5_delta_pp
    assert found is not None
    assert found.value == -8
    assert found.low < -8 < found.high < 0


def test_only_classes_that_changed_by_more_than_chance_are_marked() -> None:
    labels = np.repeat([0, 1, 2], 40)
    answers = labels.copy()
    answers[:2] = 1  # two cats: chance
    answers[40:60] = 2  # half of the dogs: none
    found = class_changes(paired(answering(labels), answering(answers), labels), NAMES)
    assert [(change.name, change.n, change.changed) for change in found] == [
        ("cat", 40, False),
        ("dog", 40, True),
        ("owl", 40, False),
    ]
    assert (found[1].baseline_top1, found[1].candidate_top1) == (100, 50)
    assert found[1].p_value == pytest.approx(3 * 2 * 0.5**20)


def test_a_class_without_images_is_left_out_and_one_without_a_name_is_called_by_its_index() -> None:
    labels = np.array([0, 2, 2])
    found = class_changes(paired(answering(labels), answering(labels), labels), None)
    assert [(change.name, change.n) for change in found] == [("0", 1), ("2", 2)]


def test_the_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    # Of ten at 0.95 nine are right, of ten at 0.55 five are: gaps of 5 points each.
    confidence = np.repeat([0.95, 0.55], 10)
    right = np.array([True] * 9 + [False] + [True] * 5 + [False] * 5)
    assert expected_calibration_error(confidence, right) == pytest.approx(5.0)


def test_errors_of_opposite_sign_in_one_bin_cancel_and_in_two_bins_do_not() -> None:
    right = np.array([True, False])
    assert expected_calibration_error(np.array([0.5, 0.5]), right) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.55, 0.45]), right) == pytest.approx(45)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_that_of_its_definition_bin_by_bin(images: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([one for one, _ in images]), np.array([other for _, other in images])
    expected = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        inside |= (confidence == 0) & (index == 0)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    # A confidence on the edge of a bin may fall to either side by rounding.
    on_an_edge = np.isclose(confidence * 15, np.round(confidence * 15), rtol=0, atol=1e-9) & (confidence > 0)
    if not on_an_edge.any():
        assert expected_calibration_error(confidence, right) == pytest.approx(100 * expected)


def test_confidence_is_the_softmax_of_the_answer() -> None:
    pair = paired(np.array([[0.0, np.log(3.0)]]), np.array([[np.log(9.0), 0.0]]), np.array([1]))
    assert pair.baseline.confidence == pytest.approx([0.75])
    assert pair.candidate.confidence == pytest.approx([0.9])
    assert (pair.baseline.answers[0], pair.candidate.answers[0]) == (1, 0)
