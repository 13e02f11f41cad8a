from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_factory import image_files, png, write_zip

from edgekit.data import batches, open_images
from edgekit.errors import DataError
from edgekit.spec import Preprocessing

SMALL = Preprocessing(input_size=8, resize=8)


def assert_unsafe(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_images(path)
    assert caught.value.code == "EK205"
    return caught.value.what


@pytest.mark.parametrize("name", ["../up.png", "a/../../up.png", "/etc/x.png", "..\\up.png", "C:\\x.png", "\\x.png"])
def test_a_name_that_leads_out_of_the_archive_is_ek205(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "set.zip", {**image_files(["a.png"]), name: png(1)})
    assert ".png" in assert_unsafe(path)


def test_a_symbolic_link_in_an_archive_is_ek205(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert "link" in assert_unsafe(path)


def test_an_encrypted_member_is_ek205(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", image_files(["a.png"]))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1  # bit 0 of the flags: encrypted
    path.write_bytes(content)
    assert "encrypted" in assert_unsafe(path)


def test_a_decompression_bomb_is_ek205(tmp_path: Path) -> None:
    files = {**image_files(["a.png"]), "b.png": bytes(32 << 20)}
    path = write_zip(tmp_path / "set.zip", files, zipfile.ZIP_DEFLATED)
    assert "would grow" in assert_unsafe(path)


def test_an_npz_is_held_to_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=np.zeros((32, 1024, 1024), dtype=np.uint8))
    assert "would grow" in assert_unsafe(path)


def test_a_member_that_inflates_beyond_what_it_announces_is_broken_and_named(tmp_path: Path) -> None:
    files = {**image_files([f"{index:03}.png" for index in range(100)]), "zzz.png": bytes(4 << 20)}
    path = write_zip(tmp_path / "set.zip", files, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<I", 1000)  # its uncompressed size
    path.write_bytes(content)
    stream = batches(open_images(path), SMALL)
    assert sum(1 for _ in stream) == 100
    assert [image.identifier for image in stream.broken] == ["zzz.png"]


def test_a_member_with_a_wrong_checksum_is_broken_and_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", image_files([f"{index:03}.png" for index in range(100)]))
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 0xFF
    path.write_bytes(content)
    stream = batches(open_images(path), SMALL)
    assert sum(1 for _ in stream) == 99
    assert [image.identifier for image in stream.broken] == ["000.png"]
    assert "CRC" in stream.broken[0].reason


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but no more", png(1)])
@pytest.mark.parametrize("suffix", [".zip", ".npz"])
def test_a_file_that_is_no_archive_is_ek201(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"set{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_images(path)
    assert caught.value.code == "EK201"


def test_a_damaged_classes_txt_is_ek207(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", {**image_files(["a/1.png", "b/1.png"]), "classes.txt": b"a\nbbbb\n"})
    path.write_bytes(path.read_bytes().replace(b"a\nbbbb\n", b"a\nbbbc\n"))
    with pytest.raises(DataError) as caught:
        open_images(path)
    assert caught.value.code == "EK207"


def test_names_with_backslashes_are_folders(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", image_files(["cat\\1.png", "dog\\1.png"]))
    assert open_images(path).class_names == ("cat", "dog")


def test_compressed_archives_read_as_stored_ones(tmp_path: Path) -> None:
    files = image_files(["cat/1.png", "dog/1.png"])
    stored = open_images(write_zip(tmp_path / "stored.zip", files))
    deflated = open_images(write_zip(tmp_path / "deflated.zip", files, zipfile.ZIP_DEFLATED))
    assert stored.sha256() == deflated.sha256()
