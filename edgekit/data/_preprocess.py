"""The one path from an RGB image to a model input, for calibration, evaluation and the device alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgekit.data._decode import MAX_PIXELS, to_rgb
from edgekit.spec import Preprocessing

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class UnusableShapeError(ValueError):
    """The image is so narrow that resizing its short side would fill the memory."""


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Resize, crop and normalise one image.

    Args:
        image: Image of any mode and size.
        preprocessing: What the model expects.

    Returns:
        float32 array (3, input_size, input_size), channels R, G, B.
    """
    return normalise(crop(image, preprocessing), preprocessing)


def crop(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Do the integer part of the preprocessing: resize the short side, then crop the centre.

    Sizes are rounded as torchvision's `Resize` and `CenterCrop` round them, so that a model sees here what
    it saw in training; what the crop needs beyond the image is black. An image that has the size already
    is not resampled.

    Returns:
        uint8 array (input_size, input_size, 3), channels R, G, B.

    Raises:
        UnusableShapeError: The resized image would hold more pixels than `decode` accepts.
    """
    rgb = to_rgb(image)
    size = resized_size(rgb.size, preprocessing.resize)
    if size[0] * size[1] > MAX_PIXELS:
        raise UnusableShapeError(f"{rgb.width}x{rgb.height} pixels are too narrow to resize")
    if size != rgb.size:
        rgb = rgb.resize(size, _FILTERS[preprocessing.interpolation])
    box = centre_box(rgb.size, preprocessing.input_size)
    # Image.crop fills what lies outside the image with zeros.
    return np.array(rgb.crop(box), dtype=np.uint8)


def resized_size(size: tuple[int, int], short: int) -> tuple[int, int]:
    """Return (width, height) after the shorter of both became `short`; the longer is rounded down."""
    width, height = size
    if width <= height:
        return short, int(short * height / width)
    return int(short * width / height), short


def centre_box(size: tuple[int, int], side: int) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the centred square; it may reach outside the image."""
    left, top = (_centre_offset(length, side) for length in size)
    return left, top, left + side, top + side


def _centre_offset(length: int, side: int) -> int:
    if length < side:
        return -((side - length) // 2)
    # Half to even, as torchvision rounds.
    return round((length - side) / 2)


def normalise(pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Scale 0..255 to 0..1, subtract the mean, divide by the standard deviation, put channels first.

    Args:
        pixels: uint8 array (..., height, width, 3).
        preprocessing: Holds mean and standard deviation of each channel.

    Returns:
        float32 array (..., 3, height, width), contiguous.
    """
    mean = np.asarray(preprocessing.mean, dtype=np.float32)
    std = np.asarray(preprocessing.std, dtype=np.float32)
    scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))
