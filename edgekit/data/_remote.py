"""Files and folders behind a URL, through fsspec; whatever goes wrong there ends as one of a few errors."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar, cast

from edgekit.data._archive import MAX_FILE_BYTES, MemberError
from edgekit.data._location import is_http, shown
from edgekit.data._stored import another_archive
from edgekit.errors import DataError, UsageError

T = TypeVar("T")
_Info = Mapping[str, Any]

# Seconds to wait before each further try.
PAUSES = (0.5, 2.0)
_PATIENCE_SECONDS = 30.0
_SIDE_BY_SIDE = 8
# Large enough that the headers and labels of small images come with few requests, small enough that of large images
# little more than the headers is read (docs/data.md).
_BLOCK = 16 << 10
_BLOCKS_KEPT = 32
# What storages call that which changes with the content, the best first.
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "sha256", "LastModified", "last_modified",
          "Last-Modified", "updated", "mtime", "modified", "created")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL. Make one with `remote_file`."""

    url: str
    size: int
    mark: str | None

    @property
    def key(self) -> str:
        """The URL without anything secret."""
        return shown(self.url)

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.key.rpartition("/")[2]

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes from the middle, with one request."""
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        files, path = filesystem(self.url)
        content = _tried(lambda: bytes(files.cat_file(path, start=offset, end=end)), self.url)
        if len(content) == end - offset:
            return content
        if len(content) == self.size:
            raise _whole_only(self.url)
        raise DataError(
            "EK210",
            f"{end - offset} bytes were asked for and {len(content)} came",
            where=self.key,
            hint="the file may have changed since; run again",
        )

    def stream(self) -> BinaryIO:
        """Open it; blocks that were read are kept."""
        return cast("BinaryIO", _Stream(self))

    def require_same(self, where: str) -> None:
        """Raise DataError EK201 when this process sees another file, or none."""
        if remote_file(self.url) != self:
            raise another_archive(where)


class _Stream(io.RawIOBase):
    """fsspec's file with its cache of blocks, tried again when a block does not come."""

    def __init__(self, file: RemoteFile) -> None:
        files, path = filesystem(file.url)
        self._size, self._url, self._at = file.size, file.url, 0
        self._file = _tried(
            lambda: files.open(
                path, "rb", block_size=_BLOCK, cache_type="blockcache", cache_options={"maxblocks": _BLOCKS_KEPT}
            ),
            file.url,
        )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(self._size - self._at, 0))

        def fetch() -> bytes:
            self._file.seek(self._at)
            return bytes(self._file.read(wanted))

        content = _tried(fetch, self._url) if wanted else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class RemoteFiles:
    """The files below a folder behind a URL, as they were listed; see `Files`.

    Args:
        files: The files below the folder, by their path in it.
    """

    def __init__(self, files: Mapping[str, RemoteFile]) -> None:
        self._files = files

    def names(self) -> Sequence[str]:
        """Return the path of every file."""
        return tuple(self._files)

    def size(self, name: str) -> int:
        """Return the length of a file in bytes, as it was listed."""
        return self._files[name].size

    def content(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a file's bytes; raises MemberError when there are more than `limit`."""
        size = self._files[name].size
        if size > limit:
            raise MemberError(f"{size} bytes are too many")
        return self._files[name].read(0, size)

    def archive(self, name: str) -> int:
        """Return 0: there are no archives."""
        return 0

    def only(self, names: Collection[str]) -> RemoteFiles:
        """Return these files alone."""
        return RemoteFiles({name: self._files[name] for name in names})


def filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL and the path in it.

    Raises:
        UsageError: EK004 when the package for this kind of URL is not installed.
        DataError: EK201 when fsspec knows no such kind of URL.
    """
    try:
        from fsspec.core import url_to_fs

        return cast("tuple[Any, str]", url_to_fs(url, **(_web_options() if is_http(url) else {})))
    except ImportError as error:
        missing = getattr(error.__cause__ or error, "name", None) or "fsspec"
        package = "'edgekit[remote]'" if missing in ("fsspec", "aiohttp", "requests") else missing
        raise UsageError(
            "EK004", f"{missing} is not installed, which reads such URLs", where=shown(url),
            hint=f"pip install {package}",
        ) from error  # fmt: skip
    except (ValueError, TypeError) as error:
        hint = "give a URL of a kind that fsspec knows (s3://, gs://, https:// …) and that needs nothing but the URL"
        raise DataError("EK201", f"not a URL that can be read ({error})", where=shown(url), hint=hint) from error


@functools.lru_cache(maxsize=1)
def _web_options() -> Mapping[str, Any]:
    from aiohttp import ClientTimeout

    # Left to itself, aiohttp waits five minutes for a server that has gone quiet.
    timeout = ClientTimeout(total=None, sock_connect=_PATIENCE_SECONDS, sock_read=_PATIENCE_SECONDS)
    return {"client_kwargs": {"timeout": timeout}}


def remote_file(url: str) -> RemoteFile:
    """Return the file behind a URL as it is now.

    Raises:
        DataError: EK201 when there is none, EK210 when nobody answers, EK211 when it cannot be read by parts.
    """
    files, path = filesystem(url)
    return _file(url, _tried(lambda: files.info(path), url))


def remote_files(urls: Sequence[str]) -> tuple[RemoteFile, ...]:
    """Return the files behind several URLs, asked for side by side; raises DataError as `remote_file`."""
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="edgekit-remote") as pool:
        return tuple(pool.map(remote_file, urls))


def _file(url: str, facts: _Info) -> RemoteFile:
    if facts.get("type") == "directory":
        raise DataError("EK201", "a folder and no file", where=shown(url), hint="give a .tar or .zip file")
    size = facts.get("size")
    if size is None or facts.get("partial") is False:
        raise _whole_only(url)
    mark = next((f"{name} {facts[name]}" for name in _MARKS if facts.get(name)), None)
    return RemoteFile(url, int(size), mark)


def is_folder(url: str) -> bool:
    """Tell whether a URL names a folder."""
    files, path = filesystem(url)
    return bool(_tried(lambda: files.isdir(path), url))


def list_folder(url: str) -> dict[str, RemoteFile]:
    """Return every file below a folder by its path in it; raises DataError as `remote_file`."""
    files, path = filesystem(url)
    root = str(path).rstrip("/")
    found: dict[str, _Info] = _tried(lambda: files.find(path, detail=True), url)
    return {name[len(root) :].lstrip("/"): _file(files.unstrip_protocol(name), facts) for name, facts in found.items()}


def glob(pattern: str) -> list[str]:
    """Return the URLs that a pattern with `*`, `?` or `[…]` fits, in sorted order."""
    files, path = filesystem(pattern)
    return [files.unstrip_protocol(name) for name in sorted(_tried(lambda: files.glob(path), pattern))]


def optional_content(url: str, limit: int) -> bytes | None:
    """Return the bytes of a small file, None where there is none, or where nobody may know whether there is one."""
    try:
        file = remote_file(url)
    except DataError as error:
        # A bucket that may not be listed says "forbidden" of what is not there.
        if error.code == "EK201" or isinstance(error.__cause__, _RefusedError):
            return None
        raise
    return file.read(0, min(file.size, limit))


class _RefusedError(Exception):
    """Somebody answered, and not with the file."""


class _LostError(Exception):
    """Nobody answered, or not to the end."""


def _tried(act: Callable[[], T], url: str) -> T:
    """Do something with a storage, again where that may help; raises DataError EK201, EK210 or EK211."""
    for pause in PAUSES:
        with contextlib.suppress(_LostError):
            return _translated(act, url)
        time.sleep(pause)
    try:
        return _translated(act, url)
    except _LostError as error:
        what = f"cannot be reached, {len(PAUSES) + 1} times over ({error})"
        hint = "check the address and the network, and run again"
        raise DataError("EK210", what, where=shown(url), hint=hint) from error


def _translated(act: Callable[[], T], url: str) -> T:
    """Do something and say in one of few ways why it failed; raises _LostError where another try may help."""
    try:
        return act()
    except (MemoryError, DataError, UsageError):
        raise
    except ValueError as error:
        if "range requests" in str(error):
            raise _whole_only(url) from error
        raise DataError("EK201", f"cannot be read ({error})", where=shown(url), hint="check the URL") from error
    except Exception as error:  # every storage has exceptions of its own
        # fsspec says of any failure on the web that there is no file; the cause says more.
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
        status = getattr(cause, "status", None)
        if isinstance(cause, (FileNotFoundError, IsADirectoryError, NotADirectoryError)) or status in (404, 410):
            raise DataError("EK201", "no such file or folder", where=shown(url), hint="check the URL") from error
        said = f"status {status}" if status else str(cause) or type(cause).__name__
        if isinstance(cause, PermissionError) or (isinstance(status, int) and 400 <= status < 500 and status != 429):
            hint = "check the URL and that this machine may read it: the credentials of the storage, or a signed URL"
            refused = _RefusedError(said)
            raise DataError("EK210", f"the storage refuses ({said})", where=shown(url), hint=hint) from refused
        raise _LostError(said) from error


def _whole_only(url: str) -> DataError:
    hint = "download the file, or put it on a server that answers range requests"
    return DataError("EK211", "the server gives no parts of this file", where=shown(url), hint=hint)
