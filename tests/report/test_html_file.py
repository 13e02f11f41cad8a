"""`--html FILE`: the page as a file, with pictures of the images whose answer changed."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import pytest
from page_examples import full
from PIL import Image
from read_page import Page

from edgekit.data import ImageSet, open_images, sample
from edgekit.errors import UsageError
from edgekit.pipeline.html_report import write_html
from edgekit.results import Comparison, Flip


def flipped(images: ImageSet, *places: int) -> Comparison:
    """Return a comparison in which the images at some places of a set changed their answer."""
    comparison = full()
    flips = tuple(Flip(images.identifiers[place], place, None, 0, 1, 1.0) for place in places)
    return dataclasses.replace(comparison, detail=dataclasses.replace(comparison.detail, flips=flips))


def pictures(path: Path) -> dict[str, Image.Image]:
    """Return the pictures of a page by their alternative text."""
    found: dict[str, Image.Image] = {}
    for element in Page(path.read_text(encoding="utf-8")).all("img"):
        kind, _, content = element.attributes["src"].partition(";base64,")
        assert kind == "data:image/jpeg"
        found[element.attributes["alt"]] = Image.open(io.BytesIO(base64.b64decode(content)))
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def test_each_flip_has_the_picture_of_its_own_image(tmp_path: Path) -> None:
    images = sample().evaluation.spread(20)
    write_html(flipped(images, 3, 11), images, tmp_path / "report.html")
    found = pictures(tmp_path / "report.html")
    assert list(found) == [images.identifiers[3], images.identifiers[11]]
    for place in (3, 11):
        original = images.read(place)
        picture = found[images.identifiers[place]]
        assert picture.size == original.size
        difference = sum(abs(a - b) for a, b in zip(picture.tobytes(), original.tobytes(), strict=True))
        assert difference / len(original.tobytes()) < 6


def test_a_large_photo_is_made_small_and_says_nothing_of_where_it_was_taken(photos: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.new("RGB", (1200, 800), "teal").save(photos / "a.jpg", exif=exif, comment=b"by me")
    images = open_images(photos)
    write_html(flipped(images, 0), images, tmp_path / "report.html")
    (picture,) = pictures(tmp_path / "report.html").values()
    assert picture.size == (192, 128)
    assert not picture.getexif()
    assert "comment" not in picture.info


def test_an_image_that_cannot_be_read_any_more_or_is_not_in_the_set_has_no_picture(
    photos: Path, tmp_path: Path
) -> None:
    for name in "abc":
        Image.new("RGB", (40, 40), "teal").save(photos / f"{name}.png")
    images = open_images(photos)
    comparison = flipped(images, 0, 1, 2)
    (photos / "b.png").write_bytes(b"this is no image")
    write_html(comparison, images.select([0, 1]), tmp_path / "report.html")
    assert list(pictures(tmp_path / "report.html")) == ["a.png"]
    words = Page((tmp_path / "report.html").read_text(encoding="utf-8")).words("flips")
    assert words.count("no picture") == 2


def test_a_page_that_cannot_be_written_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    images = sample().evaluation.spread(2)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UsageError, match="EK003"):
        write_html(flipped(images, 0), images, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_replaces_the_one_before(tmp_path: Path) -> None:
    images = sample().evaluation.spread(2)
    (tmp_path / "report.html").write_text("an older page", encoding="utf-8")
    write_html(flipped(images, 0), images, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(list(tmp_path.iterdir())) == 1
