"""`--html`: a comparison as one page, with small pictures of the images whose answer changed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

from PIL import Image

from edgekit.data import BrokenImageError, ImageSet
from edgekit.files import write_bytes
from edgekit.report.html import html_page, shown_flips
from edgekit.results import Comparison

# Twice the size that the page shows, for screens with two pixels to a point.
_LONGEST_SIDE: Final = 192
_QUALITY: Final = 85


def write_html(comparison: Comparison, images: ImageSet, path: Path) -> None:
    """Write a comparison as one HTML file that needs no network, whole or not at all.

    Args:
        comparison: What was measured.
        images: The set that it was measured on; one that cannot be read now has no picture.
        path: The file.

    Raises:
        UsageError: EK003 when it cannot be written.
    """
    page = html_page(comparison, _thumbnails(comparison, images))
    write_bytes(path, page.encode())


def _thumbnails(comparison: Comparison, images: ImageSet) -> dict[int, bytes]:
    places = {identifier: place for place, identifier in enumerate(images.identifiers)}
    flips = [flip for flip in shown_flips(comparison.detail) if flip.image in places]
    pictures = {flip.index: _thumbnail(images, places[flip.image]) for flip in flips}
    return {index: picture for index, picture in pictures.items() if picture is not None}


def _thumbnail(images: ImageSet, place: int) -> bytes | None:
    """Return a small JPEG of an image; None when it cannot be read."""
    try:
        image = images.read(place)
    except BrokenImageError:
        return None
    return _jpeg(image)


def _jpeg(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    # Its pixels alone: where and by whom a photo was taken does not belong into a page that is passed on.
    pixels = Image.new("RGB", small.size)
    pixels.paste(small)
    stream = io.BytesIO()
    pixels.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
