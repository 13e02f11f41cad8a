"""Writing files whole or not at all, hashing them, and reading small ones that people may have written."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from pydantic import ValidationError


@contextlib.contextmanager
def refusing_write_errors(path: Path) -> Iterator[None]:
    """Turn what the system says against writing `path` into UsageError EK003."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            "EK003",
            f"cannot write: {error.strerror or error}",
            where=str(path),
            hint="check the folder, its permissions and the free space, or choose another with --output",
        ) from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success rename it to `path`, else remove it.

    Raises:
        UsageError: EK003 when the folder cannot be made, the file cannot be written, or `path` is something that
            must not be replaced by a file: a folder or a device.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{path.suffix}"
    try:
        with refusing_write_errors(path):
            if path.exists() and not path.is_file():
                raise FileExistsError(errno.EEXIST, "something that is not a file has this name")
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch(exist_ok=False)
            # What a new file may be used for, by the umask; a library that writes it anew may be stricter.
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            temporary.chmod(mode)
            _flush(temporary)
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Put a file on the disk: renamed before that, it could be empty after a power failure."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON with a newline at the end, whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, reading it in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def check_folder(path: Path) -> None:
    """Make the folder `path` and prove that a file can be written in it; raises UsageError EK003.

    Called before long work, so that an unwritable output is not found out at its end.
    """
    probe = path / ".edgekit-probe"
    with writing(probe):
        pass
    probe.unlink(missing_ok=True)


def read_at_most(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a file that anybody may have written, None when it has more than `limit`; raises OSError."""
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    return content if len(content) <= limit else None


# A scheme has two letters at least: C:// is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(?:::[A-Za-z][A-Za-z0-9+.\-]+)*://")
_LOCAL_SCHEMES = ("file://", "local://")


def is_url(location: Path | str) -> bool:
    """Tell whether a location is a URL rather than a path; a `Path` is none, for it keeps one slash of two."""
    return isinstance(location, str) and _URL.match(location) is not None


def local_path(url: str) -> Path | None:
    """Return the path that a URL of this machine names (`file://…`); None for any other URL."""
    scheme = next((scheme for scheme in _LOCAL_SCHEMES if url.lower().startswith(scheme)), None)
    return None if scheme is None else Path(url[len(scheme) :])


def located(folder: Path, location: Path | str) -> Path | str:
    """Return a location that a file in `folder` gives: a URL as it is, a path relative to the folder."""
    return location if is_url(location) else folder / location


_LARGEST_TOML = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a small TOML file says.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no TOML, or far larger than any that belongs here.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    content = read_at_most(path, _LARGEST_TOML)
    if content is None:
        raise ValueError("it is far larger than such files are")
    return tomllib.loads(content.decode("utf-8"))


def first_fault(error: ValidationError) -> str:
    """Say in one line which field of a file is wrong, and how."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"])) or "the file"
    return f"{field}: {first['msg']}"
