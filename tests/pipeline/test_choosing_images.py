"""Which images calibrate and which are evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data import ImageSet
from edgekit.errors import DataError, UsageError
from edgekit.pipeline.images import SHIPPED_NAME, Images, choose_images, fitting
from edgekit.pipeline.sources import Source

Archive = Callable[..., Path]
BIRDS = tuple(f"bird {number}" for number in range(10))


def choose(source: Source, **wanted: Any) -> Images:
    defaults: dict[str, Any] = {
        "calibrates": True,
        "calibration": None,
        "calibration_samples": 30,
        "evaluation": None,
        "evaluation_samples": None,
    }
    return choose_images(source, **{**defaults, **wanted})


def texts(chosen: Images) -> list[str]:
    return [note.text for note in chosen.notes]


def contents(images: ImageSet | None) -> set[str]:
    assert images is not None
    return {images.content_sha256(index) for index in range(len(images))}


@pytest.fixture
def of_birds(shipped_source: Source) -> Source:
    """A model of ten other classes."""
    return dataclasses.replace(shipped_source, class_names=BIRDS, shipped=False)


@pytest.fixture
def of_random_weights(shipped_source: Source) -> Source:
    """A model that knows no classes."""
    return dataclasses.replace(shipped_source, class_names=None, num_classes=1000, shipped=False, random=True)


def test_the_sample_that_ships_serves_the_model_that_ships(shipped_source: Source) -> None:
    chosen = choose(shipped_source)
    assert chosen.calibration is not None
    assert chosen.evaluation is not None
    assert (len(chosen.calibration), len(chosen.evaluation), chosen.excluded) == (30, 1000, 0)
    assert chosen.calibration.name == chosen.evaluation.name == SHIPPED_NAME
    assert contents(chosen.calibration).isdisjoint(contents(chosen.evaluation))
    assert chosen.notes == ()


def test_it_serves_any_model_of_the_same_classes(shipped_source: Source) -> None:
    own = dataclasses.replace(shipped_source, shipped=False)
    assert choose(own).calibration is not None


def test_it_serves_random_weights_without_its_labels(of_random_weights: Source) -> None:
    chosen = choose(of_random_weights)
    assert chosen.evaluation is not None
    assert chosen.evaluation.labels is None


def test_a_model_of_other_classes_needs_images_to_calibrate_on(of_birds: Source) -> None:
    with pytest.raises(UsageError, match="EK001 --calibration: static quantization needs images"):
        choose(of_birds)


def test_a_model_of_other_classes_is_not_evaluated_without_images(of_birds: Source) -> None:
    chosen = choose(of_birds, calibrates=False)
    assert (chosen.calibration, chosen.evaluation) == (None, None)
    assert texts(chosen) == ["accuracy and drift were not measured: give --eval"]


def test_no_image_that_calibrates_is_evaluated(shipped_source: Source, images: ImageSet, archive: Archive) -> None:
    path = archive(images, "images.zip")
    chosen = choose(shipped_source, calibration=path, evaluation=path)
    assert chosen.calibration is not None
    assert chosen.evaluation is not None
    assert (len(chosen.calibration), len(chosen.evaluation), chosen.excluded) == (30, 70, 30)
    assert not set(chosen.calibration.identifiers) & set(chosen.evaluation.identifiers)
    assert contents(chosen.calibration).isdisjoint(contents(chosen.evaluation))


def test_a_copy_under_another_name_is_not_evaluated_either(
    shipped_source: Source, images: ImageSet, archive: Archive
) -> None:
    calibration = archive(images.select(range(40, 60)), "calibration.zip")
    chosen = choose(shipped_source, calibration=calibration, evaluation=archive(images, "evaluation.zip"))
    assert chosen.evaluation is not None
    assert (len(chosen.evaluation), chosen.excluded) == (80, 20)
    assert contents(chosen.calibration).isdisjoint(contents(chosen.evaluation))


def test_calibration_images_are_evenly_spread_and_samples_of_evaluation_are_taken_of_the_rest(
    shipped_source: Source, images: ImageSet, archive: Archive
) -> None:
    path = archive(images, "images.zip")
    chosen = choose(shipped_source, calibration=path, calibration_samples=10, evaluation=path, evaluation_samples=9)
    assert chosen.calibration is not None
    assert chosen.evaluation is not None
    assert sorted(chosen.calibration.labels or ()) == list(range(10))
    assert (len(chosen.evaluation), chosen.excluded) == (9, 10)


def test_nothing_left_to_evaluate_is_ek208(shipped_source: Source, images: ImageSet, archive: Archive) -> None:
    path = archive(images, "images.zip")
    with pytest.raises(DataError, match=r"EK208 .*0 images are left for evaluation"):
        choose(shipped_source, calibration=path, calibration_samples=100, evaluation=path)


def test_the_sample_stays_the_default_for_evaluation(
    shipped_source: Source, images: ImageSet, archive: Archive
) -> None:
    chosen = choose(shipped_source, calibration=archive(images, "images.zip"))
    assert chosen.evaluation is not None
    assert chosen.evaluation.name == SHIPPED_NAME
    # All hundred are images of that sample, and thirty of them calibrate.
    assert (len(chosen.evaluation), chosen.excluded) == (970, 30)


def test_where_it_does_not_fit_the_images_that_did_not_calibrate_are_evaluated(
    of_birds: Source, images: ImageSet, archive: Archive
) -> None:
    named = dataclasses.replace(images, class_names=BIRDS)
    chosen = choose(of_birds, calibration=archive(named, "birds.zip"))
    assert chosen.evaluation is not None
    assert (len(chosen.evaluation), chosen.excluded) == (70, 30)
    assert chosen.evaluation.class_names == BIRDS
    assert texts(chosen) == ["no --eval was given: the images of --calibration that did not calibrate were evaluated"]


def test_their_labels_are_left_out_where_they_are_not_those_of_the_model(
    of_birds: Source, images: ImageSet, archive: Archive
) -> None:
    chosen = choose(of_birds, calibration=archive(images, "images.zip"))
    assert chosen.evaluation is not None
    assert chosen.evaluation.labels is None


def test_their_labels_follow_the_models_order_of_classes(of_birds: Source, images: ImageSet, archive: Archive) -> None:
    backwards = dataclasses.replace(of_birds, class_names=BIRDS[::-1])
    path = archive(dataclasses.replace(images, class_names=BIRDS), "birds.zip")
    chosen = choose(backwards, calibration=path).evaluation
    assert chosen is not None
    assert chosen.labels is not None
    for identifier, label in zip(chosen.identifiers, chosen.labels, strict=True):
        assert identifier.startswith(f"{BIRDS[::-1][label]}/")


def test_where_all_of_them_calibrate_nothing_is_evaluated(of_birds: Source, images: ImageSet, archive: Archive) -> None:
    chosen = choose(of_birds, calibration=archive(images, "images.zip"), calibration_samples=100)
    assert chosen.calibration is not None
    assert len(chosen.calibration) == 100
    assert chosen.evaluation is None
    assert texts(chosen) == ["accuracy and drift were not measured: give --eval"]


def test_calibration_images_that_nothing_needs_are_said_to_be_unused(
    shipped_source: Source, images: ImageSet, archive: Archive
) -> None:
    chosen = choose(shipped_source, calibrates=False, calibration=archive(images, "images.zip"))
    assert chosen.calibration is None
    assert texts(chosen) == ["--calibration was not used: only static quantization calibrates"]


def test_labels_that_are_not_those_of_the_model_are_ek207(
    of_birds: Source, shipped_source: Source, images: ImageSet, archive: Archive
) -> None:
    path = archive(images, "images.zip")
    with pytest.raises(DataError, match=r"EK207 .*not one of the 10 classes of the model"):
        choose(of_birds, calibrates=False, evaluation=path)
    larger = dataclasses.replace(shipped_source, class_names=None, num_classes=1000)
    with pytest.raises(DataError, match=r"EK207 .*the images have 10 classes and the model has 1000"):
        choose(larger, calibrates=False, evaluation=path)


def test_numbers_as_labels_fit_any_model_with_so_many_classes(shipped_source: Source, tmp_path: Path) -> None:
    path = tmp_path / "images.npz"
    np.savez(path, images=np.zeros((4, 32, 32, 3), np.uint8), labels=np.array([0, 3, 3, 9]))
    nameless = dataclasses.replace(shipped_source, class_names=None)
    chosen = choose(nameless, calibrates=False, evaluation=path)
    assert chosen.evaluation is not None
    assert chosen.evaluation.labels == (0, 3, 3, 9)
    with pytest.raises(DataError, match=r"EK207 .*the images have 10 classes and the model has 9"):
        fitting(chosen.evaluation, dataclasses.replace(nameless, num_classes=9))
