from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import encoded, pixels
from PIL import Image

from edgekit.data import crop, normalise, preprocess
from edgekit.data._decode import decode
from edgekit.data._preprocess import UnusableShapeError, centre_box, resized_size
from edgekit.spec import Interpolation, Preprocessing

sides = st.integers(1, 70)
sizes = st.integers(1, 48)
channels = st.tuples(*[st.floats(0.05, 1.0)] * 3)
filters: st.SearchStrategy[Interpolation] = st.sampled_from(["bilinear", "bicubic"])
preprocessings = st.builds(
    Preprocessing, input_size=sizes, resize=sizes, mean=channels, std=channels, interpolation=filters
)


def image_of(seed: int, height: int, width: int) -> Image.Image:
    return Image.fromarray(pixels(seed, height, width))


def reference_crop(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Torchvision's `Resize` and `CenterCrop` written down once more: pad first, then slice an array."""
    width, height = image.size
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = preprocessing.resize, int(preprocessing.resize * long / short)
    new_size = (new_short, new_long) if width <= height else (new_long, new_short)
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    array = np.asarray(image.resize(new_size, resample[preprocessing.interpolation]))
    side = preprocessing.input_size
    missing = [max(side - length, 0) for length in array.shape[:2]]
    array = np.pad(array, [*((gap // 2, (gap + 1) // 2) for gap in missing), (0, 0)])
    top, left = (round((length - side) / 2.0) for length in array.shape[:2])
    return array[top : top + side, left : left + side]


@given(sides, sides, preprocessings, st.integers(0, 9))
@settings(deadline=None, max_examples=200)
def test_crop_equals_a_direct_reference_on_any_size(
    height: int, width: int, preprocessing: Preprocessing, seed: int
) -> None:
    image = image_of(seed, height, width)
    result = crop(image, preprocessing)
    assert result.dtype == np.uint8
    assert np.array_equal(result, reference_crop(image, preprocessing))


@given(sides, sides, preprocessings)
@settings(deadline=None)
def test_preprocess_gives_one_contiguous_float_image(height: int, width: int, preprocessing: Preprocessing) -> None:
    result = preprocess(image_of(0, height, width), preprocessing)
    side = preprocessing.input_size
    assert result.shape == (3, side, side)
    assert result.dtype == np.float32
    assert result.flags["C_CONTIGUOUS"]
    assert np.isfinite(result).all()


@given(st.integers(0, 99), channels, channels)
@settings(deadline=None)
def test_normalisation_can_be_undone_exactly(
    seed: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> None:
    image = pixels(seed, 7, 5)
    result = normalise(image, Preprocessing(input_size=1, resize=1, mean=mean, std=std))
    undone = (result.transpose(1, 2, 0).astype(np.float64) * std + mean) * 255
    assert np.array_equal(np.rint(undone), image)
    assert np.abs(undone - image).max() < 1e-3


def test_normalisation_scales_then_centres_each_channel() -> None:
    preprocessing = Preprocessing(input_size=1, resize=1, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    result = normalise(np.array([[[255, 0, 51]]], dtype=np.uint8), preprocessing)
    assert result.ravel() == pytest.approx([1.0, -1.0, 0.1])


def test_normalisation_of_many_images_is_that_of_each() -> None:
    preprocessing = Preprocessing(input_size=6, resize=6)
    stack = np.stack([pixels(seed, 6, 6) for seed in range(3)])
    together = normalise(stack, preprocessing)
    assert together.shape == (3, 3, 6, 6)
    assert all(np.array_equal(together[i], normalise(stack[i], preprocessing)) for i in range(3))


@given(st.tuples(*[st.integers(0, 255)] * 3), sides, sides, sizes, st.data(), filters)
@settings(deadline=None)
def test_an_image_of_one_colour_stays_of_one_colour(
    colour: tuple[int, int, int],
    height: int,
    width: int,
    resize: int,
    data: st.DataObject,
    interpolation: Interpolation,
) -> None:
    input_size = data.draw(st.integers(1, resize))
    preprocessing = Preprocessing(input_size=input_size, resize=resize, interpolation=interpolation)
    result = crop(Image.new("RGB", (width, height), colour), preprocessing)
    assert (result == np.array(colour, dtype=np.uint8)).all()


@given(sizes)
@settings(deadline=None)
def test_an_image_of_the_right_size_is_not_resampled(size: int) -> None:
    image = image_of(3, size, size)
    assert np.array_equal(crop(image, Preprocessing(input_size=size, resize=size)), np.asarray(image))


@given(sides, sides, sizes)
def test_resizing_keeps_the_shape_and_rounds_the_long_side_down(width: int, height: int, short: int) -> None:
    new_width, new_height = resized_size((width, height), short)
    assert min(new_width, new_height) == short
    assert (new_width <= new_height) == (width <= height) or new_width == new_height
    exact = short * max(width, height) / min(width, height)
    assert exact - 1 < max(new_width, new_height) <= exact


@given(st.integers(1, 500), st.integers(1, 500), sizes)
def test_the_crop_is_centred_to_half_a_pixel(width: int, height: int, side: int) -> None:
    left, top, right, bottom = centre_box((width, height), side)
    assert (right - left, bottom - top) == (side, side)
    assert abs(left - (width - right)) <= 1
    assert abs(top - (height - bottom)) <= 1


@pytest.mark.parametrize(
    ("length", "side", "offset"),
    [(5, 4, 0), (7, 4, 2), (256, 224, 16), (4, 7, -1), (4, 4, 0), (341, 224, 58)],
)
def test_odd_margins_round_as_in_torchvision(length: int, side: int, offset: int) -> None:
    assert centre_box((length, length), side)[:2] == (offset, offset)


def test_what_the_crop_needs_beyond_the_image_is_black() -> None:
    result = crop(Image.new("RGB", (3, 3), "white"), Preprocessing(input_size=6, resize=3))
    assert (result[1:4, 1:4] == 255).all()
    assert result.sum() == 255 * 3 * 9


def test_an_image_too_narrow_to_resize_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(UnusableShapeError, match="1x100000"):
        crop(Image.new("RGB", (1, 100_000)), Preprocessing(input_size=224, resize=256))


def through_file(image: Image.Image, form: str = "PNG") -> npt.NDArray[np.uint8]:
    decoded = decode(encoded(image, form), "x")
    assert decoded.mode == "RGB"
    return np.asarray(decoded)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_opaque_modes_become_the_same_colours(mode: str) -> None:
    image = image_of(1, 9, 9).convert(mode)
    assert np.array_equal(through_file(image), np.asarray(image.convert("RGB")))


def test_transparent_pixels_lie_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (200, 100, 0, 255))
    image.putpixel((1, 0), (200, 100, 0, 0))
    assert through_file(image).tolist() == [[[200, 100, 0], [255, 255, 255]]]
    image.putpixel((1, 0), (200, 100, 0, 51))
    assert through_file(image)[0, 1].tolist() == [244, 224, 204]


def test_grey_with_transparency_lies_on_white() -> None:
    image = Image.new("LA", (2, 1), (90, 255))
    image.putpixel((1, 0), (90, 0))
    assert through_file(image).tolist() == [[[90] * 3, [255] * 3]]


def test_a_transparent_palette_colour_lies_on_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 1
    assert through_file(image).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_of_sixteen_bits_the_high_byte_is_kept() -> None:
    values = np.array([[0, 255, 256, 0x8000, 0xFFFF]], dtype=np.uint16)
    assert through_file(Image.fromarray(values))[0, :, 0].tolist() == [0, 0, 1, 0x80, 0xFF]


def test_cmyk_jpegs_become_rgb() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = through_file(image, "JPEG")[8, 8].tolist()
    assert red > 240
    assert max(green, blue) < 15


def test_exif_orientation_is_ignored() -> None:
    image = image_of(1, 8, 16)
    exif = image.getexif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    assert decode(stream.getvalue(), "x").size == (16, 8)
