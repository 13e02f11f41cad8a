"""`edgekit build` from the command line to the folder with the engine, with stand-ins for what computes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from device_bundle import HERE, Bundle, executable
from ssh_server import serving

from edgekit.cli._main import run

REPOSITORY = HERE.parents[2]
NANO = ("build", "--target", "jetson-nano", "--samples", "2")
FILES = {"model.engine", "engine.json", "result.json", "timing.cache", "build.log", "bundle.json", "model.onnx"}


@pytest.fixture
def machine(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A machine with the stand-in for trtexec 8.2.1, and this test's folder as the current one."""
    for name, value in {**bundle.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return bundle


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command line that is refused; returns the last line of standard error."""
    assert run(words) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_an_engine_is_built_here(machine: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(NANO) == 0
    printed = capsys.readouterr()
    folder = Path("engine")
    assert {path.name for path in folder.iterdir()} > FILES
    assert [path.name for path in Path().iterdir()] == ["engine"]
    size = (folder / "model.engine").stat().st_size
    assert f"wrote engine/model.engine: {size:,} bytes, fp16, TensorRT 8.2.1 on NVIDIA Jetson Nano" in printed.out
    assert "building the engine with TensorRT 8.2.1" in printed.err
    assert "device:" not in printed.out


def test_what_the_plan_did_not_expect_is_a_note(
    machine: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VERSION", "8.6.1")
    words = (
        "build",
        "--target",
        "jetson-orin-nano",
        "--jetpack",
        "6.0",
        "--samples",
        "2",
        "--output",
        "orin",
        "--json",
    )
    assert run(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["output"], facts["device"]["tensorrt"], facts["plan"]["tensorrt"]) == ("orin", "8.6.1", "8.6.2")
    (note,) = (note["text"] for note in facts["notes"] if note["source"] == "device")
    assert note.startswith("TensorRT is 8.6.1 and not 8.6.2, compute capability is 5.3 and not 8.7: ")


def test_a_failed_build_leaves_what_was_there(
    machine: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run([*NANO, "--json"]) == 0
    before = {path.name: path.read_bytes() for path in Path("engine").iterdir() if path.is_file()}
    monkeypatch.setenv("FAKE_TROUBLE", "memory")
    capsys.readouterr()
    assert re.match(r"edgekit: EK708 .*; add swap", refused(capsys, *NANO))
    assert {path.name: path.read_bytes() for path in Path("engine").iterdir() if path.is_file()} == before
    assert [path.name for path in Path().iterdir()] == ["engine"]


def test_somebodys_folder_is_not_replaced(machine: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    assert "EK003 mine: " in refused(capsys, *NANO, "--output", "mine")
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--host", "nano", "--container"), "EK001 --host and --container: only one"),
        (("--container", "--bundle", "b"), "EK001 --container and --bundle: only one"),
        (("--image", "mine:1"), "EK001 --image: an image is for a container"),
        (("--bundle", "b", "--output", "o"), "EK001 --output: a bundle has its folder already"),
        (("--host", "user:secret@nano"), "EK001 --host: "),
        (("--target", "cpu"), "EK002 --target: cpu has no TensorRT"),
        (("--container", "--target", "jetson-thor"), "EK705 --container: the card of jetson-thor names no image for "),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    machine: Bundle, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    line = refused(capsys, *NANO, *words)
    assert line.startswith(f"edgekit: {expected}"), line
    assert list(Path().iterdir()) == []


def test_without_anything_to_build_with_is_ek707(
    machine: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert re.match(r"edgekit: EK707 this machine has no trtexec.*--host.*--bundle", refused(capsys, *NANO))


def test_an_engine_is_built_in_the_container_of_the_card(
    machine: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Path(machine.environment["PATH"].split(":")[0])
    executable(programs / "docker", f"#!{sys.executable} -SE\n" + (HERE / "standin_docker.py").read_text())
    monkeypatch.setenv("STANDIN_IMAGES", "nvcr.io/nvidia/l4t-tensorrt:r8.2.1-runtime")
    monkeypatch.setenv("STANDIN_CALLS", str(tmp_path / "docker-calls"))
    assert run([*NANO, "--container"]) == 0
    assert {path.name for path in Path("engine").iterdir()} > FILES
    assert "EK705 --container: docker has no image mine:1" in refused(capsys, *NANO, "--container", "--image", "mine:1")


def test_an_engine_is_built_over_ssh(
    machine: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "ssh", machine.environment) as server:
        monkeypatch.setenv("PATH", f"{server.folder}/client:{os.defpath}")
        assert run([*NANO, "--host", server.host, "--json"]) == 0
        assert server.left() == []
    facts = json.loads(capsys.readouterr().out)
    assert facts["device"]["model"] == "NVIDIA Jetson Nano Developer Kit"
    assert {path.name for path in Path("engine").iterdir()} > FILES


def test_ctrl_c_leaves_nothing_on_either_side(machine: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path / "ssh", {**machine.environment, "FAKE_TROUBLE": "hang"}) as server:
        monkeypatch.setenv("PATH", f"{server.folder}/client:{os.defpath}")
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
        process = subprocess.Popen(
            [sys.executable, "-m", "edgekit", *NANO, "--host", server.host], stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            while not any(server.store.glob("build.*/.edgekit.*/model.engine")):
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130
        assert err.splitlines()[-1] == "edgekit: interrupted; nothing was left half-written"
        assert server.left() == []
    assert list(Path().iterdir()) == []
