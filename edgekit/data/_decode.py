"""From the bytes of an image file to 8-bit RGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

# Content decides, not the suffix; formats outside this list (EPS, PSD …) are never parsed.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})

# Pillow warns above this size and refuses twice of it; here both are refused.
MAX_PIXELS = 89_478_485


class BrokenImageError(Exception):
    """One image that cannot be read; batches skip and count it.

    Args:
        identifier: Path of the image inside its set.
        reason: Why it cannot be read, in words a user can read.
    """

    def __init__(self, identifier: str, reason: str) -> None:
        super().__init__(f"{identifier}: {reason}")
        self.identifier = identifier
        self.reason = reason


def decode(content: bytes, identifier: str) -> Image.Image:
    """Decode a JPEG, PNG, WebP or BMP file to mode RGB.

    Raises:
        BrokenImageError: The bytes are no such file, are cut short, or hold too many pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height <= MAX_PIXELS:
                return to_rgb(image)
            reason = f"{image.width}x{image.height} pixels are too many"
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        reason = "not a JPEG, PNG, WebP or BMP image" if content else "the file is empty"
        raise BrokenImageError(identifier, reason) from error
    except Exception as error:  # decoders of damaged files raise nearly every built-in exception
        raise BrokenImageError(identifier, str(error) or type(error).__name__) from error
    raise BrokenImageError(identifier, reason)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to 8-bit RGB.

    Transparent pixels are laid on white: the colour stored under them is arbitrary. Of 16-bit samples the
    high byte is kept. EXIF orientation is ignored, as torchvision ignores it and as a camera on a device
    has none.
    """
    if image.mode in _SIXTEEN_BIT_MODES:
        high_byte = np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8
        return Image.fromarray(high_byte.astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, opaque).convert("RGB")
    if image.mode == "RGB":
        image.load()
        return image
    return image.convert("RGB")
