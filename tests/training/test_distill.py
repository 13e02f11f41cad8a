"""Learning from a teacher: the loss is what the paper says, labels may be missing, and a run knows its teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training_runs import IMAGES, QUICK, new_module, run, same, weights

from edgekit.errors import DataError, TrainingError, UsageError
from edgekit.training import Teacher
from edgekit.training._distill import loss_of

UNLABELLED = dataclasses.replace(IMAGES, labels=None)
ONE_EPOCH = dataclasses.replace(QUICK, epochs=1)


def teacher(**fields: float) -> Teacher:
    return Teacher(new_module(seed=9).eval(), "aa", **fields)


def test_equal_logits_cost_nothing_and_others_do() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    assert float(teacher().loss(logits, logits)) == pytest.approx(0.0, abs=1e-6)
    assert float(teacher().loss(logits, -logits)) > 0.1


def test_the_loss_is_the_divergence_of_softened_probabilities() -> None:
    taught, logits = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.0, 1.0, 3.0]])
    wanted, given = (taught / 2.0).softmax(1), (logits / 2.0).softmax(1)
    by_hand = 4.0 * float((wanted * (wanted / given).log()).sum())
    assert float(teacher(temperature=2.0).loss(logits, taught)) == pytest.approx(by_hand, rel=1e-5)


def test_the_weight_shares_the_loss_between_teacher_and_labels() -> None:
    taught, logits, labels = torch.randn(4, 10), torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    one = teacher(weight=0.25)
    told = float(F.cross_entropy(logits, labels))
    expected = 0.25 * float(one.loss(logits, taught)) + 0.75 * told
    assert float(loss_of(logits, labels, taught, one, 0.0)) == pytest.approx(expected, rel=1e-5)
    assert float(loss_of(logits, labels, None, None, 0.0)) == pytest.approx(told, rel=1e-6)


def test_a_student_comes_nearer_to_its_teacher_without_a_label(tmp_path: Path) -> None:
    alone = teacher(weight=1.0, temperature=1.0)
    losses = [result.loss for result in run(tmp_path, images=UNLABELLED, teacher=alone).history]
    assert losses[-1] < losses[0]


def test_labels_are_needed_where_they_have_a_share(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        run(tmp_path, images=UNLABELLED, teacher=teacher())
    assert caught.value.code == "EK204"


def test_a_teacher_changes_the_result_and_is_not_changed(tmp_path: Path) -> None:
    one = teacher()
    before = {name: tensor.clone() for name, tensor in one.module.state_dict().items()}
    taught = run(tmp_path / "taught", recipe=ONE_EPOCH, teacher=one)
    alone = run(tmp_path / "alone", recipe=ONE_EPOCH)
    assert not same(weights(taught), weights(alone))
    assert same(dict(one.module.state_dict()), before)


def test_another_teacher_is_another_run(tmp_path: Path) -> None:
    run(tmp_path, recipe=ONE_EPOCH, teacher=teacher())
    for other in (None, teacher(weight=0.5)):
        with pytest.raises(TrainingError, match="teacher") as caught:
            run(tmp_path, recipe=ONE_EPOCH, teacher=other, resume=True)
        assert caught.value.code == "EK301"


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"weight": 0.0}, "--distill-weight"),
        ({"weight": 1.1}, "--distill-weight"),
        ({"temperature": 0.0}, "--temperature"),
        ({"temperature": float("nan")}, "--temperature"),
    ],
)
def test_a_teacher_that_nothing_can_be_learned_with_is_ek001(
    tmp_path: Path, fields: dict[str, float], option: str
) -> None:
    with pytest.raises(UsageError) as caught:
        run(tmp_path, teacher=teacher(**fields))
    assert (caught.value.code, caught.value.where) == ("EK001", option)
