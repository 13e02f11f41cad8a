"""What random changes may and may not do to a training image."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import pixels

from edgekit.data import Augmentation, augment

Pixels = npt.NDArray[np.uint8]
PLAIN = Augmentation(flip=False)

augmentations = st.builds(
    Augmentation,
    resized_crop=st.none() | st.floats(0.05, 1.0),
    crop_padding=st.integers(0, 5),
    flip=st.booleans(),
    colour_jitter=st.floats(0.0, 0.9),
    erase=st.floats(0.0, 1.0),
)
sides = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


def changed(image: Pixels, size: int, augmentation: Augmentation, seed: int) -> Pixels:
    return augment(image, size, augmentation, np.random.default_rng(seed))


def numbered(height: int, width: int) -> Pixels:
    """An image each of whose pixels names its place: (row + 1, column + 1, 255)."""
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1]
    return np.stack([rows, columns, np.full_like(rows, 255)], axis=-1).astype(np.uint8)


@given(sides, sides, st.integers(1, 24), augmentations, seeds)
@settings(deadline=None)
def test_any_image_becomes_a_square_of_bytes_and_the_seed_decides_which(
    height: int, width: int, size: int, augmentation: Augmentation, seed: int
) -> None:
    image = pixels(seed, height, width)
    before = image.copy()
    result = changed(image, size, augmentation, seed)
    assert result.shape == (size, size, 3)
    assert result.dtype == np.uint8
    assert np.array_equal(result, changed(image, size, augmentation, seed))
    assert np.array_equal(image, before)


def test_another_seed_gives_another_image() -> None:
    image = pixels(0, 20, 20)
    results = {changed(image, 16, Augmentation(crop_padding=4), seed).tobytes() for seed in range(20)}
    assert len(results) > 10


@given(st.integers(1, 20), seeds)
def test_a_flip_is_the_exact_mirror_and_comes_every_second_time(size: int, seed: int) -> None:
    image = numbered(size, size)
    results = [changed(image, size, Augmentation(flip=True), seed ^ number) for number in range(64)]
    mirrored = [np.array_equal(result, image[:, ::-1]) for result in results]
    assert all(flip or np.array_equal(result, image) for result, flip in zip(results, mirrored, strict=True))
    if size > 1:
        assert 10 <= sum(mirrored) <= 54


@given(st.integers(4, 20), st.integers(0, 6), seeds)
def test_a_padded_crop_shifts_the_image_and_fills_up_with_black(size: int, padding: int, seed: int) -> None:
    result = changed(numbered(size, size), size, dataclasses.replace(PLAIN, crop_padding=padding), seed).astype(int)
    inside = result[..., 2] == 255
    assert not result[~inside].any()
    rows, columns = np.nonzero(inside)
    if len(rows):
        shifts = {(row - y, column - x) for (row, column, _), y, x in zip(result[inside], rows, columns, strict=True)}
        assert len(shifts) == 1
        assert all(abs(shift - 1) <= padding for shift in shifts.pop())


@given(st.integers(4, 16), seeds)
def test_without_a_change_an_image_of_the_size_stays_as_it_is(size: int, seed: int) -> None:
    image = pixels(seed, size, size)
    assert np.array_equal(changed(image, size, PLAIN, seed), image)
    assert np.array_equal(changed(image, size, dataclasses.replace(PLAIN, colour_jitter=0.0, erase=0.0), seed), image)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 24), st.floats(0.05, 1.0), seeds)
def test_a_resized_crop_of_one_colour_stays_that_colour(
    height: int, width: int, size: int, share: float, seed: int
) -> None:
    colour = pixels(seed, 1, 1)
    image = np.ascontiguousarray(np.broadcast_to(colour, (height, width, 3)))
    result = changed(image, size, dataclasses.replace(PLAIN, resized_crop=share), seed)
    assert (result == colour).all()


@given(st.floats(0.05, 1.0), seeds)
def test_a_resized_crop_keeps_at_least_the_share_of_the_area(share: float, seed: int) -> None:
    """In an image whose red rises to the right and green downwards, the spread of colours is the size of the crop."""
    ramp = np.arange(240)
    image = np.stack(np.broadcast_arrays(ramp[None, :], ramp[:, None], 0), axis=-1).astype(np.uint8)
    result = changed(image, 240, dataclasses.replace(PLAIN, resized_crop=share), seed).astype(int)
    width, height = (int(np.ptp(result[..., channel])) + 1 for channel in (0, 1))
    assert width * height / 240**2 >= share - 0.03
    assert 0.7 <= width / height <= 1.4


@given(st.integers(8, 24), st.floats(0.1, 1.0), seeds)
def test_erasing_paints_one_black_rectangle_no_larger_than_asked(size: int, share: float, seed: int) -> None:
    image = np.full((size, size, 3), 200, np.uint8)
    result = changed(image, size, dataclasses.replace(PLAIN, erase=share), seed)
    side = round(share * size)
    black = (result == 0).all(axis=-1)
    assert ((result == 200).all(axis=-1) | black).all()
    rows, columns = black.any(axis=1).sum(), black.any(axis=0).sum()
    assert black.sum() == rows * columns
    # The centre lies in the image, so that at least a quarter of the square does.
    assert side // 2 <= min(rows, columns)
    assert max(rows, columns) <= side


@given(st.floats(0.0, 0.9), seeds)
def test_colour_jitter_keeps_grey_grey_and_within_its_strength(strength: float, seed: int) -> None:
    image = np.full((6, 6, 3), 100, np.uint8)
    result = changed(image, 6, dataclasses.replace(PLAIN, colour_jitter=strength), seed).astype(int)
    assert (result == result[0, 0, 0]).all()
    assert 100 * (1 - strength) - 2 <= result[0, 0, 0] <= 100 * (1 + strength) + 2


def test_a_hair_thin_image_does_not_fill_the_memory() -> None:
    """Scaled to 224 pixels of height, this line would take 13 GB."""
    line = np.full((1, 90_000, 3), 7, np.uint8)
    for image in (line, np.ascontiguousarray(line.swapaxes(0, 1))):
        assert (changed(image, 224, PLAIN, 0) == 7).all()
