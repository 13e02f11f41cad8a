"""The committed baseline as a file of strangers: what it holds, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ComparisonError
from edgekit.validate.gate import (
    Answers,
    Baseline,
    evidence_against,
    pack_answers,
    pack_correct,
    parse_baseline,
    require_same_classes,
    require_same_images,
)

SHA = {letter: letter * 64 for letter in "abcdef"}
CLASSES = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
CORRECT = np.array([True] * 8 + [False] * 3)


def content() -> dict[str, Any]:
    return {
        "schema": "edgekit.baseline/1",
        "edgekit": "0.1.0",
        "model": {
            "name": "model.onnx",
            "sha256": SHA["a"],
            "size_bytes": 1000,
            "num_classes": 10,
            "preprocessing": "{}",
        },
        "images": {"name": "val", "sha256": SHA["b"], "labels_sha256": SHA["c"], "count": 11},
        "top1": 100 * 8 / 11,
        "logits_sha256": SHA["d"],
        "answers": pack_answers(CLASSES),
        "correct": pack_correct(CORRECT),
        "speed": None,
    }


def parsed(**changes: Any) -> Baseline:
    return parse_baseline({**content(), **changes}, where="edgekit-baseline.json")


def answers(**changes: Any) -> Answers:
    fields = {
        "sha256": SHA["e"],
        "size_bytes": 300,
        "logits_sha256": SHA["f"],
        "classes": CLASSES,
        "correct": CORRECT,
    }
    return Answers(**{**fields, **changes})


def test_it_survives_being_written_and_read() -> None:
    baseline = parsed(
        speed={
            "reference": "model.fp32.onnx",
            "reference_sha256": SHA["c"],
            "speedup": [2.0, 1.9, 2.1],
            "p99_ratio": None,
            "cpu": "some CPU",
            "threads": 2,
            "runtime": "onnxruntime 1.31.1",
        }
    )
    assert parse_baseline(json.loads(baseline.model_dump_json(by_alias=True)), where="") == baseline


@given(st.lists(st.tuples(st.integers(0, 999), st.booleans()), min_size=1, max_size=60))
def test_answers_come_back_as_they_were_packed(rows: list[tuple[int, bool]]) -> None:
    classes, correct = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    fields = content()
    baseline = parse_baseline(
        {
            **fields,
            "model": {**fields["model"], "num_classes": 1000},
            "images": {**fields["images"], "count": len(rows)},
            "top1": 100 * float(correct.mean()),
            "answers": pack_answers(classes),
            "correct": pack_correct(correct),
        },
        where="",
    )
    np.testing.assert_array_equal(baseline.unpacked_answers(), classes)
    np.testing.assert_array_equal(baseline.unpacked_correct(), correct)


def test_a_candidate_is_paired_with_it_image_by_image() -> None:
    classes, correct = CLASSES.copy(), CORRECT.copy()
    classes[:2] = 9
    correct[:2] = False
    correct[9] = True
    found = evidence_against(parsed(), answers(classes=classes, correct=correct))
    assert (found.gained, found.lost, found.agreeing, found.images) == (1, 2, 9, 11)
    assert (found.baseline_bytes, found.candidate_bytes, found.identical) == (1000, 300, False)
    assert found.speedup is None


def test_the_same_file_with_the_same_answers_is_the_same_model() -> None:
    assert evidence_against(parsed(), answers(sha256=SHA["a"])).identical


def test_other_bytes_with_the_same_logits_are_the_same_model() -> None:
    assert evidence_against(parsed(), answers(logits_sha256=SHA["d"])).identical


def test_the_same_file_that_answers_otherwise_on_this_cpu_is_not() -> None:
    moved = np.roll(CLASSES, 1)
    assert not evidence_against(parsed(), answers(sha256=SHA["a"], classes=moved)).identical


def test_without_labels_agreement_is_left() -> None:
    fields = content()
    baseline = parsed(correct=None, top1=None, images={**fields["images"], "labels_sha256": None})
    found = evidence_against(baseline, answers(correct=None))
    assert (found.gained, found.lost, found.agreeing) == (None, None, 11)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"answers": "AAAA"}, "answers"),
        ({"answers": "not base64!"}, "base64"),
        ({"answers": pack_answers(CLASSES[:5])}, "11 images"),
        ({"answers": pack_answers(CLASSES + 1)}, "not among the classes"),
        ({"correct": pack_correct(CORRECT[:3])}, "11 images"),
        ({"correct": pack_correct(~CORRECT)}, "top1"),
        ({"correct": None}, "belong together"),
        ({"top1": 101.0}, "top1"),
        ({"model": None}, "model"),
        ({"logits_sha256": "abc"}, "logits_sha256"),
        ({"surprise": 1}, "surprise"),
        ({"schema": "something"}, "schema"),
    ],
)
def test_what_was_cut_short_or_edited_is_ek631_and_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ComparisonError, match=f"EK631 edgekit-baseline.json: .*{named}.*--update"):
        parsed(**changes)


@pytest.mark.parametrize("text", [None, [], 3, "x", {}])
def test_what_is_no_baseline_at_all_is_ek631(text: Any) -> None:
    with pytest.raises(ComparisonError, match="EK631"):
        parse_baseline(text, where="edgekit-baseline.json")


def test_a_bomb_of_zeros_is_not_unpacked() -> None:
    with pytest.raises(ComparisonError, match="EK631"):
        parsed(answers=pack_answers(np.zeros(1 << 20, np.uint32)))


def test_one_of_a_newer_edgekit_is_ek632() -> None:
    with pytest.raises(ComparisonError, match=r"EK632 .*edgekit.baseline/2, and this edgekit reads edgekit.baseline/1"):
        parsed(schema="edgekit.baseline/2", later="fields")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": SHA["f"]}, "these are other images"),
        ({"labels": SHA["f"]}, "the labels are others"),
        ({"labels": None}, "the labels are others"),
        ({"count": 10}, "10 of the images can be read, and 11 could"),
    ],
)
def test_other_images_are_ek633(changes: dict[str, Any], said: str) -> None:
    same: dict[str, Any] = {"name": "val", "sha256": SHA["b"], "labels": SHA["c"], "count": 11}
    require_same_images(parsed(), **same)
    with pytest.raises(ComparisonError, match=f"EK633 val: .*{said}"):
        require_same_images(parsed(), **{**same, **changes})


def test_another_number_of_classes_is_ek634() -> None:
    require_same_classes(parsed(), 10, where="model.onnx")
    with pytest.raises(ComparisonError, match=r"EK634 model\.onnx: the candidate has 1000 classes and the baseline 10"):
        require_same_classes(parsed(), 1000, where="model.onnx")
