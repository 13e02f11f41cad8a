"""Images that are taken to verify and to time, and what is measured on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import ImageSet, batches, open_images
from edgekit.errors import DataError
from edgekit.pipeline.measuring import first_images, measure
from edgekit.pipeline.sources import Source
from edgekit.validate import ModelLatency, Runner, runner, session

Archive = Callable[..., Path]


@pytest.fixture(scope="module")
def shipped(shipped_source: Source) -> Runner:
    return runner(session(shipped_source.model.SerializeToString(), threads=1))


def test_the_first_images_are_spread_over_the_set(shipped_source: Source, images: ImageSet) -> None:
    preprocessing = shipped_source.preprocessing
    taken = first_images(images, preprocessing, 5)
    (expected,) = batches(images.select([0, 20, 40, 60, 80]), preprocessing, 5)
    np.testing.assert_array_equal(taken, expected.images)
    assert len(first_images(images.select(range(3)), preprocessing, 8)) == 3


def test_another_image_stands_in_for_a_broken_one(shipped_source: Source, images: ImageSet, archive: Archive) -> None:
    opened = open_images(archive(images, "images.zip", broken=[99]))
    last_first = opened.select(range(len(opened) - 1, -1, -1))
    size = shipped_source.preprocessing.input_size
    assert first_images(last_first, shipped_source.preprocessing, 8).shape == (8, 3, size, size)


def test_too_many_broken_images_are_ek203(shipped_source: Source, images: ImageSet, archive: Archive) -> None:
    opened = open_images(archive(images, "images.zip", broken=range(100)))
    with pytest.raises(DataError, match="EK203"):
        first_images(opened, shipped_source.preprocessing, 1)


def test_one_model_alone_has_accuracy_and_time_and_no_drift(
    shipped: Runner, shipped_source: Source, images: ImageSet
) -> None:
    measured = measure(shipped, None, images, shipped_source.preprocessing)
    assert measured.baseline is not None
    assert measured.baseline.n == 100
    assert (measured.candidate, measured.drift) == (None, None)
    assert isinstance(measured.latency, ModelLatency)


def test_without_images_there_is_still_a_time(shipped: Runner, shipped_source: Source) -> None:
    measured = measure(shipped, shipped, None, shipped_source.preprocessing)
    assert (measured.baseline, measured.candidate, measured.drift) == (None, None, None)
    assert not isinstance(measured.latency, ModelLatency)
    assert measured.latency.baseline_ms.p50 > 0


def test_accuracy_is_that_of_the_labels(shipped: Runner, shipped_source: Source, images: ImageSet) -> None:
    """With the model's own answers as labels it is right every time."""
    (batch,) = batches(images, shipped_source.preprocessing, 100)
    answers = tuple(int(answer) for answer in shipped(batch.images).argmax(axis=1))
    measured = measure(shipped, None, dataclasses.replace(images, labels=answers), shipped_source.preprocessing)
    assert measured.baseline is not None
    assert measured.baseline.top1 == 100
