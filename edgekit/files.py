"""Writing files whole or not at all, and hashing them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success rename it to `path`, else remove it.

    Raises:
        UsageError: EK003 when the folder cannot be made or the file cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private to the user; outputs follow the umask as any other file does.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            "EK003",
            f"cannot write: {error.strerror or error}",
            where=str(path),
            hint="check the folder, its permissions and the free space, or choose another with --output",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
