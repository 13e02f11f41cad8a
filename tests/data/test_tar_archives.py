"""Tar archives that strangers made, or that did not arrive whole."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_factory import image_files, png, write_tar

from edgekit.data import batches, open_images
from edgekit.errors import DataError
from edgekit.spec import Preprocessing

SMALL = Preprocessing(input_size=8, resize=8)
HUNDRED = image_files([f"{index:03}.png" for index in range(100)])


def refusal(path: Path, code: str) -> str:
    with pytest.raises(DataError) as caught:
        open_images(path)
    assert caught.value.code == code
    return caught.value.what


def with_member(path: Path, **facts: object) -> Path:
    """Write a tar with an image and a member of which everything can be chosen."""
    with tarfile.open(path, "w") as archive:
        for name, content in image_files(["a.png"]).items():
            plain = tarfile.TarInfo(name)
            plain.size = len(content)
            archive.addfile(plain, io.BytesIO(content))
        member = tarfile.TarInfo("b.png")
        for name, value in facts.items():
            setattr(member, name, value)
        archive.addfile(member)
    return path


def reheaded(content: bytes, name: str, change: Callable[[bytearray], None]) -> bytes:
    """Change the header of a member, and make its checksum right again."""
    place = content.index(name.encode())
    header = bytearray(content[place : place + 512])
    change(header)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return content[:place] + bytes(header) + content[place + 512 :]


@pytest.mark.parametrize("name", ["../up.png", "a/../../up.png", "/etc/x.png", "..\\up.png", "C:\\x.png", "\\x.png"])
def test_a_name_that_leads_out_of_the_archive_is_ek205(tmp_path: Path, name: str) -> None:
    path = write_tar(tmp_path / "set.tar", {**image_files(["a.png"]), name: png(1)})
    assert ".png" in refusal(path, "EK205")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is no file"),
        (tarfile.BLKTYPE, "is no file"),
        (tarfile.FIFOTYPE, "is no file"),
        (b"Z", "is no file"),
    ],
)
def test_links_and_devices_are_ek205(tmp_path: Path, kind: bytes, reason: str) -> None:
    path = with_member(tmp_path / "set.tar", type=kind, linkname="a.png" if kind in b"12" else "")
    assert refusal(path, "EK205") == f"the member 'b.png' {reason}"


def test_a_sparse_member_is_ek205(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "0", "GNU.sparse.size": "4194304", "GNU.sparse.map": "0,0"}
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("b.png")
        member.pax_headers = headers
        archive.addfile(member)
    assert refusal(tmp_path / "set.tar", "EK205") == "the member 'b.png' is sparse"


def test_a_name_that_is_there_twice_is_ek205(tmp_path: Path) -> None:
    path = with_member(tmp_path / "set.tar", name="a.png")
    assert refusal(path, "EK205") == "the member 'a.png' is there twice"


def test_a_name_that_is_in_two_shards_is_ek205(tmp_path: Path) -> None:
    write_tar(tmp_path / "1.tar", image_files(["a.png", "b.png"]))
    write_tar(tmp_path / "2.tar", image_files(["b.png"]))
    assert refusal(tmp_path, "EK205") == "the member 'b.png' is both in 1.tar and in 2.tar"


@pytest.mark.parametrize("left", [1, 511, 512, 700, 1024, 1535, 5000])
def test_an_archive_that_was_cut_short_is_ek201(tmp_path: Path, left: int) -> None:
    path = write_tar(tmp_path / "set.tar", HUNDRED)
    path.write_bytes(path.read_bytes()[:left])
    assert "not a tar archive, or cut short or damaged" in refusal(path, "EK201")


def test_an_archive_that_was_cut_between_two_members_is_ek201(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", HUNDRED)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"050.png")])
    assert "no end of the archive" in refusal(path, "EK201")


@pytest.mark.parametrize(
    "size",
    [b"77777777777\0", b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xff" * 12, b"0000000000x\0", b"00000000000\0"],
)
def test_a_header_that_lies_about_the_size_is_ek201(tmp_path: Path, size: bytes) -> None:
    path = write_tar(tmp_path / "set.tar", HUNDRED)

    def lie(header: bytearray) -> None:
        header[124:136] = size

    path.write_bytes(reheaded(path.read_bytes(), "050.png", lie))
    assert "cut short or damaged" in refusal(path, "EK201")


def test_a_long_name_without_end_is_ek201(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", HUNDRED)

    def announce(header: bytearray) -> None:
        header[124:136] = b"00017777777\0"
        header[156:157] = tarfile.GNUTYPE_LONGNAME

    path.write_bytes(reheaded(path.read_bytes(), "050.png", announce))
    with path.open("ab") as stream:
        stream.truncate(64 << 20)
    assert "a header of" in refusal(path, "EK201")


@given(st.data())
def test_whatever_is_changed_in_an_archive_it_opens_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "set.tar"
    content = bytearray(write_tar(path, {"a.png": b"a" * 700, "b/c.png": b"", "d.cls": b"1"}).read_bytes()[:4096])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    code = ""
    try:
        images = open_images(path)
    except DataError as error:
        code = error.code
    if code:
        assert code in ("EK201", "EK202", "EK205", "EK207")
    else:
        assert all(len(images.encoded(index)) <= len(content) for index in range(len(images)))


@pytest.mark.parametrize("name", ["set.tar.gz", "set.tgz", "set.tar.zst", "set.tar"])
def test_a_compressed_archive_is_ek201_and_says_what_to_do(tmp_path: Path, name: str) -> None:
    plain = write_tar(tmp_path / "plain.tar", image_files(["a.png"]))
    path = tmp_path / name
    path.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match=r"EK201 .*cannot be read by parts; unpack the compression alone"):
        open_images(path)


def test_an_archive_without_images_is_ek202(tmp_path: Path) -> None:
    refusal(write_tar(tmp_path / "set.tar", {"notes.txt": b"nothing"}), "EK202")
    refusal(write_tar(tmp_path / "empty.tar", {}), "EK202")


def test_a_huge_member_and_one_that_is_no_image_are_broken_and_named(tmp_path: Path) -> None:
    files = {**{f"{index:03}.png": png(index % 7) for index in range(200)}, "x.png": b"no image"}
    write_tar(tmp_path / "1.tar", files)
    huge = tarfile.TarInfo("y.png")
    huge.size = 257 << 20
    with (tmp_path / "2.tar").open("wb") as file:  # A file with a hole: it takes no room on the disk.
        file.write(huge.tobuf())
        file.truncate(512 + huge.size + 1024)
    stream = batches(open_images(tmp_path), SMALL)
    assert sum(1 for _ in stream) == 200
    assert [image.identifier for image in stream.broken] == ["x.png", "y.png"]
    assert "269484032 bytes are too many" in stream.broken[1].reason


def test_a_shard_that_is_replaced_while_it_is_read_breaks_its_images(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", HUNDRED)
    images = open_images(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"EK203 .*set.tar became shorter"):
        list(batches(images, SMALL))
    path.unlink()
    with pytest.raises(DataError, match=r"EK203 .*No such file"):
        list(batches(images, SMALL))


def test_a_long_name_a_directory_and_a_leading_dot_are_read(tmp_path: Path) -> None:
    name = f"{'cat' * 40}/{'x' * 150}.png"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "set.tar", "w", format=form) as archive:
            folder = tarfile.TarInfo("./dog")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for path in ("./dog/1.png", f"./{name}"):
                member = tarfile.TarInfo(path)
                member.size = len(png(1))
                archive.addfile(member, io.BytesIO(png(1)))
        assert open_images(tmp_path / "set.tar").identifiers == (name, "dog/1.png")
