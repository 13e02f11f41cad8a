"""Random changes to training images, on uint8 arrays with pillow and numpy."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

Pixels = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Which random changes are made to a training image, in this order.

    Attributes:
        resized_crop: Smallest share of the image's area that a random resized crop keeps; None scales the short side
            to the input size and crops at a random place.
        crop_padding: Pixels of black border added on each side before that crop; without effect on a resized crop.
        flip: Mirror left to right every second time.
        colour_jitter: Brightness, contrast and saturation each change by a factor in 1 ± this.
        erase: Side of a square, as a share of the input size, that is painted black at a random place.
    """

    resized_crop: float | None = None
    crop_padding: int = 0
    flip: bool = True
    colour_jitter: float = 0.0
    erase: float = 0.0


# Of an image longer than this many times its short side only the middle is used: scaling the short side up to the
# input size could fill the memory.
LONGEST_SIDE = 16


def augment(image: Pixels, size: int, augmentation: Augmentation, random: np.random.Generator) -> Pixels:
    """Return a randomly changed (size, size, 3) version of an RGB image (H, W, 3), both uint8."""
    if augmentation.resized_crop is not None:
        image = _resized_crop(image, size, augmentation.resized_crop, random)
    else:
        image = _padded_crop(_fit(image, size), size, augmentation.crop_padding, random)
    if augmentation.flip and random.random() < 0.5:
        image = image[:, ::-1]
    if augmentation.colour_jitter:
        image = _jitter(image, augmentation.colour_jitter, random)
    if augmentation.erase:
        image = _erase(image, round(augmentation.erase * size), random)
    return image


def _fit(image: Pixels, size: int) -> Pixels:
    """Scale the short side to `size`."""
    limit = LONGEST_SIDE * min(image.shape[:2])
    top, left = (max(length - limit, 0) // 2 for length in image.shape[:2])
    image = image[top : top + limit, left : left + limit]
    height, width = image.shape[:2]
    if min(height, width) == size:
        return image
    scale = size / min(height, width)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR))


def _padded_crop(image: Pixels, size: int, padding: int, random: np.random.Generator) -> Pixels:
    if padding:
        image = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    top = int(random.integers(image.shape[0] - size + 1))
    left = int(random.integers(image.shape[1] - size + 1))
    return image[top : top + size, left : left + size]


def _resized_crop(image: Pixels, size: int, least_area: float, random: np.random.Generator) -> Pixels:
    """Crop a random share of the area with a random aspect ratio of 3:4 to 4:3 (Szegedy et al. 2014).

    A shape that does not fit is drawn again; the centre square stands in after ten that did not.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * random.uniform(least_area, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left = int(random.integers(width - crop_width + 1))
            top = int(random.integers(height - crop_height + 1))
            break
    else:
        crop_width = crop_height = min(height, width)
        left, top = (width - crop_width) // 2, (height - crop_height) // 2
    box = (left, top, left + crop_width, top + crop_height)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box))


def _jitter(image: Pixels, strength: float, random: np.random.Generator) -> Pixels:
    picture = Image.fromarray(np.ascontiguousarray(image))
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for index in random.permutation(len(enhancers)):
        picture = enhancers[index](picture).enhance(random.uniform(1 - strength, 1 + strength))
    return np.asarray(picture)


def _erase(image: Pixels, side: int, random: np.random.Generator) -> Pixels:
    """Paint a square black whose centre lies anywhere in the image: at the edge, part of it falls outside."""
    size = image.shape[0]
    top, left = (int(random.integers(-side // 2, size - side // 2)) for _ in range(2))
    image = image.copy()
    image[max(top, 0) : top + side, max(left, 0) : left + side] = 0
    return image
