"""Running a bundle on a device over ssh, with OpenSSH's own client and the user's own keys and settings.

One session does it all: session.sh runs there, takes the bundle from its standard input and writes the answer to its
standard output. It ends, and cleans up, when its input ends; so nothing is left there whatever becomes of this end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import secrets
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from edgekit.engine._answer import RESULT
from edgekit.engine._bundle import DEVICE
from edgekit.engine._engine import ENGINE_FILE, ENGINE_MANIFEST
from edgekit.engine._run import MOST_LINES, PATIENCE_S, Outcome, Show, failure, settings, stop
from edgekit.errors import TargetError, UsageError

SESSION: Final = DEVICE / "session.sh"
REQUIRED: Final = (ENGINE_FILE, ENGINE_MANIFEST, RESULT)
ANSWER: Final = (*REQUIRED, "timing.cache", "build.log")
LARGEST_FILE: Final = 4 << 30
# What a shell's start-up files may print before the answer.
MOST_NOISE: Final = 1 << 20
SSH_FAILED: Final = 255
# Whatever the user's configuration says: no question that nobody could answer, no host that is not known, nothing
# forwarded, no shared connection that outlives this one, and a device that hangs is noticed after a minute.
OPTIONS: Final = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ControlMaster=no",
    "LogLevel=ERROR",
)
_HOST = re.compile(r"(?:([\w.][\w.+-]*)@)?(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|\w[\w.-]*)(?::(\d{1,5}))?", re.ASCII)
_OFFENDING = re.compile(r"Offending (?:\S+ )*key in (.+):(\d+)")
_HOST_KEY = "Host key verification failed"
_AUTHENTICATION = re.compile(r"Permission denied|Too many authentication failures|No more authentication methods")


@dataclasses.dataclass(frozen=True)
class Host:
    """A device that ssh reaches.

    Attributes:
        destination: Its name or address, after `user@` where the user is named.
        port: Port of its ssh server; None leaves it to ssh's configuration.
    """

    destination: str
    port: int | None = None

    @property
    def command(self) -> str:
        """The command that connects to it by hand."""
        port = f"-p {self.port} " if self.port is not None else ""
        return f"ssh {port}{self.destination}"


def parse_host(text: str) -> Host:
    """Read `USER@HOST:PORT`, of which the user and the port may be left out; raises UsageError EK001."""
    match = _HOST.fullmatch(text)
    port = int(match[3]) if match and match[3] else None
    if match is None or (port is not None and not 0 < port < 1 << 16):
        raise UsageError(
            "EK001",
            f"{text!r} is not USER@HOST or USER@HOST:PORT",
            where="--host",
            hint="write it as in user@nano or user@192.168.1.7:2222, an IPv6 address in [ ]",
        )
    host = match[2].strip("[]")
    return Host(f"{match[1]}@{host}" if match[1] else host, port)


def build_on_host(host: Host, folder: Path, show: Show) -> None:
    """Run a bundle on a device; its folder then holds the engine and `result.json`, or is as it was.

    Args:
        host: The device.
        folder: The bundle.
        show: Is given each line that the device prints.

    Raises:
        TargetError: EK703 and EK706 to EK712 for what the device tells; EK713 when it is not reached, EK714 when it
            lets nobody in, EK715 when its host key is not the known one, EK716 when the connection breaks, EK717 when
            the answer is not whole.
        UsageError: EK004 without ssh.
    """
    if shutil.which("ssh") is None:
        raise UsageError("EK004", "the program ssh is missing", where="--host", hint="install openssh-client")
    with tempfile.TemporaryDirectory(prefix="edgekit-") as temporary:
        archive, answer = Path(temporary) / "bundle.tar", Path(temporary) / "answer"
        _pack(folder, archive)
        mark = secrets.token_hex(16)
        # What run.sh wants to see free beside the bundle itself.
        needed = archive.stat().st_size + 4 * (folder / "model.onnx").stat().st_size
        outcome, started = _converse(session_command(host, mark, archive, needed), mark, archive, answer, show)
        if outcome.status != 0:
            raise explain(outcome, host, started=started)
        _unpack(answer, mark, Path(temporary) / "files", host)
        for path in sorted((Path(temporary) / "files").iterdir()):
            shutil.move(path, folder / path.name)


def session_command(host: Host, mark: str, archive: Path, needed: int) -> list[str]:
    """Return the command line of ssh; nothing on it is secret, and all of it survives the device's login shell."""
    words = ["env", *(f"{name}={value}" for name, value in settings().items())] if settings() else []
    words += ["sh", "-c", SESSION.read_text(encoding="utf-8"), "edgekit-session", mark]
    words += [str(archive.stat().st_size), str(needed // 1024 + 1)]
    options = [word for option in OPTIONS for word in ("-o", option)]
    port = ["-p", str(host.port)] if host.port is not None else []
    return ["ssh", "-T", *options, *port, "--", host.destination, shlex.join(words)]


def _pack(folder: Path, archive: Path) -> None:
    """Write the files of a folder into a tar archive that any tar reads."""
    with tarfile.open(archive, "w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size, entry.mode = path.stat().st_size, path.stat().st_mode & 0o777
            entry.mtime = int(path.stat().st_mtime)
            with path.open("rb") as content:
                tar.addfile(entry, content)


def _converse(command: Sequence[str], mark: str, archive: Path, answer: Path, show: Show) -> tuple[Outcome, bool]:
    """Hold the session: send the archive, show what the device prints once its session has begun, keep the answer.

    Returns:
        How ssh ended with the last lines it printed, and whether the device's session had begun.
    """
    done, started = threading.Event(), False
    lines: deque[str] = deque(maxlen=MOST_LINES)
    # In a session of its own Ctrl-C does not reach ssh, which has to stay until the device has cleaned up.
    with answer.open("wb") as kept, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=kept, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "LC_ALL": "C"},
    ) as ssh:  # fmt: skip
        assert ssh.stdin is not None
        assert ssh.stderr is not None
        sender = threading.Thread(target=_send, args=(archive, ssh.stdin, done), daemon=True)
        sender.start()
        try:
            for raw in ssh.stderr:
                line = raw.decode("utf-8", "replace").rstrip()
                if not started and line.endswith(mark):
                    started = True
                    lines.clear()
                    continue
                lines.append(line)
                if started:
                    show(line)
            status = ssh.wait()
        except BaseException:
            done.set()
            _hang_up(ssh)
            raise
        finally:
            done.set()
            sender.join()
    return Outcome(status, tuple(lines)), started


def _send(archive: Path, pipe: IO[bytes], done: threading.Event) -> None:
    """Send the archive and keep the pipe open: its end tells the device that nobody waits for the answer any more."""
    with contextlib.suppress(BrokenPipeError), pipe, archive.open("rb") as content:
        while not done.is_set() and (piece := content.read(1 << 16)):
            pipe.write(piece)
        pipe.flush()
        done.wait()


def _hang_up(ssh: subprocess.Popen[bytes]) -> None:
    """Wait until the device has cleaned up, which it begins to when its input ends."""
    try:
        ssh.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        stop(ssh)


def explain(outcome: Outcome, host: Host, *, started: bool) -> TargetError:
    """Return the error that a failed session is.

    Args:
        outcome: How ssh ended.
        host: The device.
        started: The device's session had begun, so that what was printed is the device's and not ssh's.
    """
    where = host.destination
    if outcome.status != SSH_FAILED and outcome.status >= 0:
        return failure(outcome, where)
    if started:
        return TargetError(
            "EK716",
            "the connection was lost during the build",
            where=where,
            hint="see that the device has power and network, and build again; what it was doing there ends by itself",
        )
    text = "\n".join(outcome.lines)
    if _HOST_KEY in text:
        return _host_key(text, host)
    if _AUTHENTICATION.search(text):
        return TargetError(
            "EK714",
            "the device lets nobody in with the keys that ssh has",
            where=where,
            hint=f"see that {host.command} asks for nothing: ssh-copy-id puts a key there, ssh-add unlocks one",
        )
    last = next((line for line in reversed(outcome.lines) if line), "ssh says nothing")
    return TargetError(
        "EK713",
        f"the device cannot be reached ({last})",
        where=where,
        hint=f"see that it is on and that {host.command} works",
    )


def _host_key(text: str, host: Host) -> TargetError:
    if offending := _OFFENDING.search(text):
        file, line = offending.groups()
        return TargetError(
            "EK715",
            f"its host key is another one than line {line} of {file} says",
            where=host.destination,
            hint="somebody may stand between; if the device was installed anew, remove that line, connect once with "
            f"{host.command} and compare the fingerprint",
        )
    return TargetError(
        "EK715",
        "its host key is not known here",
        where=host.destination,
        hint=f"connect once with {host.command} and compare the fingerprint before you accept it",
    )


def _unpack(answer: Path, mark: str, folder: Path, host: Host) -> None:
    """Take the files of the answer out of what the device wrote; raises TargetError EK717 when one is missing."""
    folder.mkdir()
    try:
        with answer.open("rb") as stream:
            begin = stream.read(MOST_NOISE).find(f"{mark}\n".encode())
            if begin < 0:
                raise _broken("it is not there", host)
            stream.seek(begin + len(mark) + 1)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for entry in tar:
                    if entry.name not in ANSWER or not entry.isreg() or entry.size > LARGEST_FILE:
                        raise _broken(f"it has a file that was not asked for ({entry.name})", host)
                    content = tar.extractfile(entry)
                    assert content is not None
                    with (folder / entry.name).open("wb") as copy:
                        shutil.copyfileobj(content, copy)
    except (tarfile.TarError, EOFError) as error:
        raise _broken(f"it broke off: {error}", host) from error
    for name in REQUIRED:
        if not (folder / name).is_file():
            raise _broken(f"{name} is missing", host)


def _broken(what: str, host: Host) -> TargetError:
    return TargetError(
        "EK717",
        f"the device's answer is not whole: {what}",
        where=host.destination,
        hint="build again; nothing of this answer was kept",
    )
