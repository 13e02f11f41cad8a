"""A real OpenSSH server on the loopback address, and the settings of a client that reaches it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from device_bundle import executable

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
USER = pwd.getpwuid(os.geteuid()).pw_name


@dataclasses.dataclass
class Server:
    """A server, and the folder of settings that a client reaches it with."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def host(self) -> str:
        return f"{USER}@127.0.0.1:{self.port}"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def store(self) -> Path:
        """What a device keeps of edgekit."""
        return self.folder / "cache" / "edgekit"

    def left(self) -> list[str]:
        """Names of what a session has left on the device, but for timing caches."""
        return [path.name for path in self.store.glob("*") if path.suffix != ".cache"]

    def sessions(self) -> list[int]:
        """The processes that serve connections: children of the server."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if path.read_text().rpartition(")")[2].split()[1] == str(self.process.pid):
                    found.append(int(path.parent.name))
        return found


def require_sshd() -> str:
    """Return the path of sshd; without one skip, or fail where CI=true."""
    if SSHD is None:
        reason = "needs sshd: apt-get install openssh-server"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return SSHD


@contextlib.contextmanager
def serving(folder: Path, environment: Mapping[str, str], *settings: str) -> Iterator[Server]:
    """Start a server whose sessions have the variables of `environment`, and stop it in the end.

    `folder/client` gets a program `ssh` that is the system's own with settings for this server, as a user would have
    them in a file of their own; it goes on PATH.
    """
    sshd = require_sshd()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    for name in ("host_key", "user_key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = free_port()
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"# hosts\n[127.0.0.1]:{port} {key}\n")
    # Another home than the user's own, whose shell may put more programs into PATH.
    variables = {**environment, "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    lines = (
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host_key", "PidFile none", "UsePAM no",
        f"AuthorizedKeysFile {folder}/authorized_keys", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password", "StrictModes no",
        "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items()), *settings,
    )  # fmt: skip
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    write_client(folder, "user_key")
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
        try:
            wait_for(port, process, folder / "sshd.log")
            yield Server(process, port, folder)
        finally:
            process.terminate()
            process.wait(60)


def write_client(folder: Path, key: str) -> None:
    """Write the client's settings; they are careless on purpose, since edgekit must not be."""
    lines = (
        "Host *", f"IdentityFile {folder}/{key}", "IdentitiesOnly yes", f"UserKnownHostsFile {folder}/known_hosts",
        "GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking no", "LogLevel DEBUG",
    )  # fmt: skip
    (folder / "ssh_config").write_text("\n".join(lines) + "\n")
    ssh = shutil.which("ssh", path=os.defpath) or "/usr/bin/ssh"
    (folder / "client").mkdir(exist_ok=True)
    executable(folder / "client" / "ssh", f'#!/bin/sh\nexec {ssh} -F {folder}/ssh_config "$@"\n')


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1500):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
            assert sock.recv(4) == b"SSH-"
            return
        time.sleep(0.02)
    pytest.fail(f"sshd did not start: {log.read_text()}")


def system_programs(folder: Path, *names: str) -> None:
    """Fill a folder with links to programs of the system, for a PATH that has nothing else."""
    for name in names:
        found = shutil.which(name, path=os.defpath)
        assert found is not None, name
        (folder / name).symlink_to(found)


def python3(folder: Path) -> None:
    """Put this Python, with its packages, into a folder as `python3`."""
    executable(folder / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
