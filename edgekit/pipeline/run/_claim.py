"""One run at a time in a folder: a lock file that the system gives back when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.files import refusing_write_errors

CLAIM = ".edgekit-running"


@contextlib.contextmanager
def claiming(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder for this process; the file stays, the claim ends with the process, even one that is killed.

    Args:
        folder: It is made where it is not there.
        shared: Others may hold it too, as long as nobody wants it alone.

    Raises:
        UsageError: EK003 when nothing can be written there, EK012 when another process holds it.
    """
    with refusing_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            raise UsageError(
                "EK012",
                f"process {holder or 'unknown'} is at work in the folder",
                where=str(folder),
                hint="wait until it has ended, or name another folder",
            ) from error
        with refusing_write_errors(folder):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
