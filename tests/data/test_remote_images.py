"""Data sets behind URLs: on a real web server, and in fsspec's memory."""

from __future__ import annotations

import io
import pickle
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from image_factory import image_files, png, write_folder, write_tar, write_zip
from web_server import WebServer, serving

from edgekit.data import ImageSet, batches, fingerprint, kept_indexes, open_images
from edgekit.errors import DataError, UsageError
from edgekit.spec import Preprocessing

TREE = image_files([f"{name}/{number}.png" for name in ("cat", "dog") for number in range(4)])
SMALL = Preprocessing(input_size=8, resize=8)


def tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def dealt(files: Mapping[str, bytes], count: int) -> list[bytes]:
    """Deal files out to tar shards, one after another."""
    names = list(files)
    return [tar({name: files[name] for name in names[number::count]}) for number in range(count)]


def facts(images: ImageSet) -> tuple[object, ...]:
    return images.identifiers, images.labels, images.class_names, images.sha256()


def refused(code: str, location: str) -> str:
    with pytest.raises((DataError, UsageError)) as caught:
        open_images(location)
    assert caught.value.code == code
    return str(caught.value)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data._remote.PAUSES", (0.0, 0.0))


@pytest.fixture
def web() -> Iterator[WebServer]:
    first, second = dealt(TREE, 2)
    files = {"/set.zip": zipped(TREE), "/set.tar": tar(TREE), "/part-0.tar": first, "/part-1.tar": second}
    with serving(files) as server:
        yield server


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of an empty folder in memory."""
    storage: Any = fsspec.filesystem("memory")
    yield "memory://bucket"
    storage.store.clear()
    storage.pseudo_dirs[:] = [""]


def put(url: str, content: bytes) -> None:
    with fsspec.open(url, "wb") as file:
        file.write(content)


def test_a_url_makes_no_difference(web: WebServer, memory: str, tmp_path: Path) -> None:
    here = facts(open_images(write_folder(tmp_path / "set", TREE)))
    for name, content in {"set.zip": zipped(TREE), "set.tar": tar(TREE)}.items():
        put(f"{memory}/{name}", content)
    for number, content in enumerate(dealt(TREE, 3)):
        put(f"{memory}/shards/part-{number}.tar", content)
    for name, content in TREE.items():
        put(f"{memory}/plain/{name}", content)
    for location in (
        f"{web.url}/set.zip",
        f"{web.url}/set.tar",
        f"{web.url}/part-{{0..1}}.tar",
        f"{web.url}/set.tar?signature=a//b.zip",
        f"{memory}/set.zip",
        f"{memory}/set.tar",
        f"{memory}/shards/part-{{0..2}}.tar",
        f"{memory}/shards/part-*.tar",
        f"{memory}/shards",
        f"{memory}/plain",
    ):
        assert facts(open_images(location)) == here, location


def test_batches_of_a_url_are_those_of_the_file(web: WebServer, tmp_path: Path) -> None:
    here = batches(open_images(write_tar(tmp_path / "set.tar", TREE)), SMALL, 3)
    there = batches(open_images(f"{web.url}/part-{{0..1}}.tar"), SMALL, 3)
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.images, other.images)


def test_a_folder_inside_an_archive_can_be_named_in_a_url(web: WebServer) -> None:
    files = {f"{split}/{name}": content for split in ("train", "val") for name, content in TREE.items()}
    web.files |= {"/splits.zip": zipped(files), "/splits.tar": tar(files)}
    for name in ("splits.zip", "splits.tar"):
        assert open_images(f"{web.url}/{name}/train").identifiers == tuple(TREE)


def test_classes_txt_beside_remote_shards_counts(web: WebServer, memory: str) -> None:
    samples = {**image_files(["1.png", "2.png"]), "1.cls": b"0", "2.cls": b"1"}
    web.files |= {"/wds/part-0.tar": tar(samples), "/wds/classes.txt": b"n1 tench\nn2 eel\n"}
    assert open_images(f"{web.url}/wds/part-{{0..0}}.tar").class_names == ("tench", "eel")
    put(f"{memory}/wds/part-0.tar", tar(samples))
    assert open_images(f"{memory}/wds").class_names is None
    put(f"{memory}/wds/classes.txt", b"n1 tench\nn2 eel\n")
    assert open_images(f"{memory}/wds").class_names == ("tench", "eel")


def test_a_class_list_that_nobody_may_see_is_none(web: WebServer) -> None:
    web.forbidden = {"/classes.txt"}
    assert open_images(f"{web.url}/part-{{0..1}}.tar").class_names == ("cat", "dog")


def test_only_headers_are_read_and_only_once(web: WebServer) -> None:
    large = {f"{number}.png": png(number, 200, 200) for number in range(4)}
    web.files["/large.tar"] = tar(large)
    first = open_images(f"{web.url}/large.tar")
    spans = [span for method, _, span in web.requests if method == "GET"]
    read = sum(int(last) - int(start) + 1 for start, _, last in (span[6:].partition("-") for span in spans))
    assert read < len(web.files["/large.tar"]) / 3
    assert [kept.key for kept in kept_indexes()] == [f"{web.url}/large.tar"]
    web.requests.clear()
    again = open_images(f"{web.url}/large.tar")
    assert again.identifiers == first.identifiers
    assert {method for method, _, _ in web.requests} == {"HEAD"}
    web.files["/large.tar"] = tar(image_files(["other.png"]))
    assert open_images(f"{web.url}/large.tar").identifiers == ("other.png",)


def test_an_image_is_one_request_for_its_bytes(web: WebServer) -> None:
    images = open_images(f"{web.url}/part-{{0..1}}.tar")
    web.requests.clear()
    assert images.encoded(3) == TREE["cat/3.png"]
    ((method, path, span),) = web.requests
    start, _, last = span.removeprefix("bytes=").partition("-")
    assert (method, path, int(last) - int(start) + 1) == ("GET", "/part-1.tar", len(TREE["cat/3.png"]))


def test_a_part_in_another_process_asks_for_its_own_shard_alone(web: WebServer) -> None:
    images = open_images(f"{web.url}/part-{{0..1}}.tar")
    part = images.select([index for index, shard in enumerate(images.archives()) if shard == 1])
    sent, expected = pickle.dumps(part), part.sha256()
    web.requests.clear()
    assert pickle.loads(sent).sha256() == expected
    assert {path for _, path, _ in web.requests} == {"/part-1.tar"}


@pytest.mark.parametrize("name", ["set.tar", "set.zip"])
def test_a_worker_that_sees_another_archive_says_so(web: WebServer, name: str) -> None:
    sent = pickle.dumps(open_images(f"{web.url}/{name}"))
    web.files[f"/{name}"] += b"\0"
    with pytest.raises(DataError, match=r"EK201 .*a worker does not have this archive, or has another"):
        pickle.loads(sent)


def test_a_folder_behind_a_url_travels_as_the_files_of_a_part(memory: str) -> None:
    for name, content in TREE.items():
        put(f"{memory}/plain/{name}", content)
    images = open_images(f"{memory}/plain")
    arrived = pickle.loads(pickle.dumps(images.select([1, 5])))
    assert arrived.sha256() == images.select([1, 5]).sha256()
    assert len(pickle.dumps(images.select([1, 5]))) < len(pickle.dumps(images))


def test_what_is_secret_in_a_url_is_said_nowhere(web: WebServer) -> None:
    url = f"{web.url.replace('//', '//user:secret@')}/set.tar?token=secret"
    assert open_images(url).name == f"{web.url}/set.tar"
    assert "secret" not in refused("EK201", url.replace("set.tar", "other.tar"))
    assert not any("secret" in kept.key for kept in kept_indexes())


@pytest.mark.parametrize("name", ["other.tar", "other.zip", "part-{0..2}.tar"])
def test_what_does_not_exist_is_ek201(web: WebServer, memory: str, name: str) -> None:
    assert "no such file or folder" in refused("EK201", f"{web.url}/{name}")
    assert "no such file or folder" in refused("EK201", f"{memory}/{name}")


@pytest.mark.parametrize(
    ("location", "what"),
    [
        ("memory://bucket/absent", "no such file or folder"),
        ("memory://bucket/part-*.tar", "no file fits the pattern"),
        ("memory://bucket/set.npz", "an .npz is read from this machine alone"),
        ("memory://bucket/set.tar.gz", "unpack the compression alone"),
        ("https://127.0.0.1/images/", "the web has no folders"),
        ("http://127.0.0.1/train-*.tar", "the web has no folders"),
        ("nothing://bucket/set.tar", "not a URL that can be read (Protocol not known: nothing)"),
        ("file:///absent/set.tar", "no such file or folder"),
    ],
)
def test_a_url_of_no_known_kind_is_ek201(location: str, what: str) -> None:
    assert what in refused("EK201", location)


def test_a_url_that_went_through_a_path_is_explained() -> None:
    assert "give a URL as text" in refused("EK201", str(Path("s3://bucket/set.tar")))


def test_a_package_that_is_missing_is_ek004(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert refused("EK004", "s3://bucket/train-{000..146}.tar") == (
        "EK004 s3://bucket/train-000.tar: s3fs is not installed, which reads such URLs; pip install s3fs"
    )
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    assert "pip install 'edgekit[remote]'" in refused("EK004", "https://localhost/set.tar")


def test_nobody_at_the_address_is_ek210() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    assert "cannot be reached, 3 times over" in refused("EK210", f"http://127.0.0.1:{port}/set.tar")


@pytest.mark.parametrize("status", [401, 403])
def test_a_storage_that_refuses_is_ek210_at_once(web: WebServer, status: int) -> None:
    images = open_images(f"{web.url}/set.tar")
    web.requests.clear()
    web.faults = [status]
    with pytest.raises(DataError, match=rf"EK210 .*the storage refuses \(status {status}\)"):
        images.encoded(0)
    assert len(web.requests) == 1


@pytest.mark.parametrize("fault", ["cut", 500, 503, 429])
@pytest.mark.parametrize("name", ["set.tar", "set.zip"])
def test_a_fault_that_passes_is_survived(web: WebServer, fault: int | str, name: str) -> None:
    images = open_images(f"{web.url}/{name}")
    web.faults = [fault, fault]
    assert facts(images)[3] == open_images(f"{web.url}/{name}").sha256()
    web.faults = [fault, fault]
    assert facts(open_images(f"{web.url}/{name}")) == facts(images)


@pytest.mark.parametrize("name", ["set.tar", "set.zip"])
def test_a_connection_that_is_lost_is_ek210_and_no_broken_image(web: WebServer, name: str) -> None:
    web.files[f"/{name}"] = (zipped if name.endswith("zip") else tar)(
        {f"{number}.png": png(number, 300, 300) for number in range(8)}
    )
    images = open_images(f"{web.url}/{name}")
    web.allowed = len(web.requests) + 3
    with pytest.raises(DataError, match=r"EK210 .*cannot be reached, 3 times over"):
        list(batches(images, SMALL))


@pytest.mark.parametrize("name", ["large.tar", "set.zip", "small.tar"])
@pytest.mark.parametrize("says_no", [True, False])
def test_a_server_without_parts_of_files_is_ek211(web: WebServer, name: str, says_no: bool) -> None:
    web.files["/large.tar"] = tar({f"{number}.png": png(number, 200, 200) for number in range(4)})
    web.files["/small.tar"] = tar(image_files(["1.png"]))
    web.files["/set.zip"] = zipped({f"{number}.png": png(number, 200, 200) for number in range(4)})
    web.ranges, web.says_no = False, says_no
    with pytest.raises(DataError, match=r"EK211 .*the server gives no parts of this file; download the file"):
        open_images(f"{web.url}/{name}").encoded(0)


def test_a_fingerprint_follows_what_the_storage_says(web: WebServer, memory: str) -> None:
    url = f"{web.url}/part-{{0..1}}.tar"
    first = fingerprint(url)
    web.requests.clear()
    assert fingerprint(url) == first
    assert not any(span for _, _, span in web.requests)
    assert len({first, fingerprint(f"{web.url}/set.tar"), fingerprint(f"{web.url}/set.tar/cat")}) == 3
    web.files["/classes.txt"] = b"dog\ncat\n"
    second = fingerprint(url)
    web.files["/part-1.tar"] = tar(image_files(["cat/9.png"]))
    assert len({first, second, fingerprint(url)}) == 3
    put(f"{memory}/plain/a/1.png", png(1))
    plain = fingerprint(f"{memory}/plain")
    put(f"{memory}/plain/a/2.png", png(1))
    assert fingerprint(f"{memory}/plain") != plain


def test_where_the_storage_says_nothing_the_images_are_read(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.data._remote._MARKS", ())
    put(f"{memory}/set.tar", tar(image_files(["a/1.png", "b/1.png"])))
    first = fingerprint(f"{memory}/set.tar")
    assert fingerprint(f"{memory}/set.tar") == first
    put(f"{memory}/set.tar", tar({"a/1.png": png(9), "b/1.png": png(9)}))
    assert fingerprint(f"{memory}/set.tar") != first
    assert kept_indexes() == ()


def test_neither_fsspec_nor_tarfile_is_loaded_unless_needed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", TREE)
    script = f"""
import sys
from edgekit.data import open_images
open_images({str(path)!r}).read(0)
print(*sorted({{"fsspec", "tarfile", "aiohttp"}} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
