"""Building over ssh, against a real OpenSSH server and stand-ins for trtexec and TensorRT: the flow, no numbers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from device_bundle import HERE, Bundle, executable
from ssh_server import USER, Server, free_port, python3, serving, system_programs, write_client

from edgekit.engine import build_on_host, check_built, parse_host
from edgekit.errors import EdgekitError, TargetError, UsageError

# All that session.sh and run.sh need of a system.
TOOLS = (
    "sh", "env", "mkdir", "mktemp", "find", "df", "awk", "head", "tail", "tar", "rm", "sed", "sort", "tr", "wc", "cat",
    "cp", "mv", "date", "sleep", "touch", "sha256sum", "dirname", "printf",
)  # fmt: skip
STANDIN = """
import sys
from pathlib import Path
from edgekit.engine import build_on_host, parse_host
build_on_host(parse_host(sys.argv[1]), Path(sys.argv[2]), print)
"""


class Device:
    """A device: a bundle to build on it, the programs it has, and a server that is started when it is first used."""

    def __init__(self, bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bundle, self.folder, self.monkeypatch = bundle, folder, monkeypatch
        self.programs = Path(bundle.environment["PATH"].split(":")[0])
        self.shown: list[str] = []

    @contextlib.contextmanager
    def __call__(self, *settings: str, **variables: str) -> Iterator[Server]:
        with serving(self.folder, {**self.bundle.environment, **variables}, *settings) as server:
            self.monkeypatch.setenv("PATH", f"{self.folder}/client:{os.environ['PATH']}")
            yield server

    def build(self, host: str) -> None:
        self.shown.clear()
        build_on_host(parse_host(host), self.bundle.folder, self.shown.append)

    def wraps(self, name: str, text: str) -> None:
        """Put a program of that name before the system's, which is in $real."""
        executable(self.programs / name, f"#!/bin/sh\nreal={shutil.which(name, path=os.defpath)}\n{text}\n")

    def refusal(self, server: Server, code: str, *words: str) -> None:
        """A build fails with that code and those words, and leaves nothing behind on either side."""
        before = contents(self.bundle.folder)
        with pytest.raises(EdgekitError) as caught:
            self.build(server.host)
        text = str(caught.value)
        assert text.startswith(f"{code} "), text
        assert [word for word in words if word not in text] == [], text
        assert "\n" not in text
        assert contents(self.bundle.folder) == before
        assert server.left() == []


@pytest.fixture
def device(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(bundle, tmp_path / "ssh", monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def running(*words: str) -> bool:
    """Whether a process runs that has all these words on its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = path.read_bytes().decode("utf-8", "replace")
            if all(word in text for word in words):
                return True
    return False


def test_a_bundle_is_built_on_the_device_and_its_answer_comes_back(device: Device) -> None:
    with device() as server:
        device.build(server.host)
        assert check_built(device.bundle.folder).device.model == "NVIDIA Jetson Nano Developer Kit"
        assert "building the engine with TensorRT 8.2.1 (this takes minutes)" in device.shown
        # What was printed before the session began, and what marks it, is nobody's business.
        assert not any(re.search(r"[0-9a-f]{32}|debug", line) for line in device.shown)
        assert server.left() == []
    assert (device.bundle.folder / "timing.cache").read_text() == "cache "
    assert "Engine built in" in (device.bundle.folder / "build.log").read_text()


def test_the_timing_cache_stays_on_the_device(device: Device) -> None:
    with device() as server:
        device.build(server.host)
        (kept,) = server.store.iterdir()
        assert kept.name == "timing-8.2.1-NVIDIA_Jetson_Nano_Developer_Kit.cache"
        for name in ("timing.cache", "model.engine", "engine.json", "result.json"):
            (device.bundle.folder / name).unlink()
        device.build(server.host)
    assert (device.bundle.folder / "timing.cache").read_text() == "cache cache "


def test_a_login_shell_that_talks_is_no_harm(device: Device) -> None:
    chatty = 'ForceCommand echo "Welcome to this board"; echo "motd" >&2; eval "$SSH_ORIGINAL_COMMAND"'
    with device(chatty) as server:
        device.build(server.host)
    check_built(device.bundle.folder)
    assert "motd" not in device.shown


def test_without_trtexec_its_python_builds(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: the settings of the timing are passed on."""
    (device.programs / "trtexec").unlink()
    python3(device.programs)
    site = device.folder.parent / "site"
    (site / "pycuda").mkdir(parents=True)
    shutil.copy(HERE / "standin_tensorrt.py", site / "tensorrt.py")
    shutil.copy(HERE / "standin_pycuda.py", site / "pycuda" / "driver.py")
    (site / "pycuda" / "__init__.py").touch()
    monkeypatch.setenv("EDGEKIT_DURATION_S", "0")
    monkeypatch.setenv("EDGEKIT_WARMUP_MS", "0")
    with device(PYTHONPATH=str(site), STANDIN_VERSION="8.2.1.8") as server:
        device.build(server.host)
        assert server.left() == []
    answer = check_built(device.bundle.folder)
    assert (answer.tool, answer.settings.duration_s, answer.settings.warmup_ms) == ("runner.py", 0, 0)


def test_without_trtexec_and_python_is_ek707(device: Device, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    system_programs(bare, *TOOLS)
    with device(PATH=str(bare)) as server:
        device.refusal(server, "EK707", "neither trtexec nor python3", "JetPack", "127.0.0.1")


@pytest.mark.parametrize(
    ("trouble", "code", "word"),
    [
        ("gpu", "EK703", "error: 35"),
        ("disk", "EK706", "could not write its file"),
        ("killed", "EK708", "add swap"),
        ("memory", "EK708", "the end of build.log above"),
        ("node", "EK712", "HardSwish"),
        ("engine", "EK712", "read the end of run.log above"),
    ],
)
def test_what_the_device_tells_is_told_here(device: Device, trouble: str, code: str, word: str) -> None:
    with device(FAKE_TROUBLE=trouble) as server:
        device.refusal(server, code, word)
    # The folder there is gone, and so the end of its log is shown here.
    assert any(line.startswith("&&&& ") for line in device.shown)


def test_a_program_that_is_killed_itself_is_ek708(device: Device) -> None:
    device.wraps("sha256sum", "kill -9 $PPID")
    with device() as server:
        device.refusal(server, "EK708", "killed", "swap")


def test_a_sample_that_does_not_fit_is_ek710_and_a_changed_file_ek711(device: Device) -> None:
    (device.bundle.folder / "sample" / "000.bin").write_bytes(bytes(188))
    with device() as server:
        device.refusal(server, "EK711", "sample/000.bin")
        device.bundle.set()
        device.refusal(server, "EK710", "sample/000.bin", "188")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
@pytest.mark.parametrize("lies", [False, True])
def test_a_full_disk_is_ek706_before_or_while_it_is_written(device: Device, lies: bool) -> None:
    """On a real small disk; where `df` tells of space that is not there, it is found out by writing."""
    if lies:
        device.wraps("df", "echo header; echo 'disk 100 0 999999 0% /'")
    (device.bundle.folder / "model.onnx").write_bytes(os.urandom(200_000))
    device.bundle.set()
    cache = device.folder / "cache"
    cache.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", cache], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this root may not mount a small disk")
    try:
        with device() as server:
            words = ("cannot be unpacked",) if lies else ("128 KiB free", "free some space on the device")
            device.refusal(server, "EK706", *words)
    finally:
        subprocess.run(["umount", "--lazy", cache], check=True)


def test_a_disk_that_is_too_small_is_ek706_before_anything_runs(device: Device) -> None:
    device.wraps("df", "echo header; echo 'disk 100 61 39 61% /'")
    with device() as server:
        device.refusal(server, "EK706", "39 KiB free")
    assert not Path(device.bundle.environment["FAKE_CALLS"]).exists()


def test_a_folder_that_cannot_be_written_is_ek706(device: Device) -> None:
    device.folder.mkdir()
    (device.folder / "cache").touch()
    with device() as server:
        device.refusal(server, "EK706", "nothing can be written")


def test_what_a_power_cut_left_is_removed(device: Device) -> None:
    old, new = (device.folder / "cache" / "edgekit" / name for name in ("build.old", "build.new"))
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (time.time() - 3 * 86400,) * 2)
    with device() as server:
        device.build(server.host)
        assert server.left() == ["build.new"]


def test_an_unknown_host_key_is_ek715_whatever_the_users_settings_say(device: Device) -> None:
    with device() as server:
        server.known_hosts.write_text("")
        device.refusal(server, "EK715", "not known here", f"ssh -p {server.port} {USER}@127.0.0.1", "fingerprint")
        assert server.known_hosts.read_text() == ""
        assert not server.store.exists()


def test_a_changed_host_key_is_ek715_with_its_line(device: Device) -> None:
    with device() as server:
        other = " ".join((server.folder / "other_key.pub").read_text().split()[:2])
        server.known_hosts.write_text(f"# hosts\n[127.0.0.1]:{server.port} {other}\n")
        device.refusal(server, "EK715", f"line 2 of {server.known_hosts}", "installed anew")
        assert not server.store.exists()


def test_a_key_that_is_not_let_in_is_ek714(device: Device) -> None:
    with device() as server:
        write_client(server.folder, "other_key")
        device.refusal(server, "EK714", "ssh-copy-id")


def test_a_port_where_nobody_listens_is_ek713(device: Device) -> None:
    with device(), pytest.raises(TargetError, match=r"EK713 .*@127.0.0.1: .*Connection refused.*see that it is on"):
        device.build(f"{USER}@127.0.0.1:{free_port()}")


def test_without_ssh_is_ek004(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match=r"EK004 --host: .*openssh-client"):
        device.build("nano")


def test_a_connection_that_breaks_is_ek716_and_the_device_cleans_up(device: Device) -> None:
    with device(FAKE_TROUBLE="hang") as server:
        cut: list[int] = []

        def show(line: str) -> None:
            if "building the engine" in line:
                until(lambda: any(server.store.glob("build.*/.edgekit.*/model.engine")))
                for process in server.sessions():
                    os.kill(process, signal.SIGKILL)
                    cut.append(process)

        before = contents(device.bundle.folder)
        with pytest.raises(TargetError, match=r"EK716 .*connection was lost"):
            build_on_host(parse_host(server.host), device.bundle.folder, show)
        assert cut
        assert contents(device.bundle.folder) == before
        until(lambda: server.left() == [])
        until(lambda: not running(str(device.programs / "trtexec")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_build_that_is_ended_here_ends_there(device: Device, number: signal.Signals) -> None:
    with device(FAKE_TROUBLE="hang") as server:
        before = contents(device.bundle.folder)
        process = subprocess.Popen(
            [sys.executable, "-c", STANDIN, server.host, device.bundle.folder],
            stderr=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            until(lambda: any(server.store.glob("build.*/.edgekit.*/model.engine")))
            process.send_signal(number)
            process.wait(60)
        finally:
            process.kill()
        # After SIGKILL nobody is left here to wait for the device.
        until(lambda: server.left() == [])
        until(lambda: not running(str(device.programs / "trtexec")))
        assert contents(device.bundle.folder) == before


@pytest.mark.parametrize(
    ("tar", "word"),
    [
        ('"$real" "$@" | head -c 1500', "broke off"),
        ('touch other && "$real" "$@" other', "not asked for (other)"),
        ('"$real" cf - result.json', "model.engine is missing"),
    ],
)
def test_an_answer_that_is_not_whole_is_ek717(device: Device, tar: str, word: str) -> None:
    device.wraps("tar", f'case $1 in cf) {tar} ;; *) exec "$real" "$@" ;; esac')
    with device() as server:
        device.refusal(server, "EK717", word)


@pytest.mark.parametrize(
    ("text", "destination", "port"),
    [
        ("nano", "nano", None),
        ("user@nano.local:2222", "user@nano.local", 2222),
        ("a.b+c@192.168.1.7", "a.b+c@192.168.1.7", None),
        ("user@[fe80::1%eth0]:22", "user@fe80::1%eth0", 22),
    ],
)
def test_a_host_is_read(text: str, destination: str, port: int | None) -> None:
    host = parse_host(text)
    assert (host.destination, host.port) == (destination, port)


@pytest.mark.parametrize(
    "text",
    ["", "-oProxyCommand=id", "user@-oProxyCommand=id", "-l@nano", "user:secret@nano", "nano:", "nano:0", "nano:65536",
     "nano:ssh", "a b@nano", "user@nano;id", "user@nano\n", "::1"],
)  # fmt: skip
def test_what_is_no_host_is_ek001(text: str) -> None:
    with pytest.raises(UsageError, match="EK001 --host: "):
        parse_host(text)
