"""Building here and in a container, with stand-ins for trtexec, TensorRT and docker: the flow, no numbers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from device_bundle import HERE, Bundle, executable, write_tree

from edgekit.engine import build_here, build_in_container, check_built, find_container, find_program
from edgekit.engine._container import Container, Mounts, container_command
from edgekit.engine._here import choose_program
from edgekit.engine._run import Outcome, failure
from edgekit.errors import TargetError

IMAGE = "nvcr.io/nvidia/l4t-tensorrt:r8.2.1-runtime"
INTERRUPTED = """
import sys
from pathlib import Path
from edgekit.engine import build_here, find_program
build_here(find_program(), Path(sys.argv[1]), print)
"""


@pytest.fixture
def here(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The bundle, with the stand-in for trtexec on this process's PATH."""
    for name, value in {**bundle.environment, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return bundle


@pytest.fixture
def docker(here: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in for docker on PATH; returns where its calls are written."""
    programs = Path(here.environment["PATH"].split(":")[0])
    executable(programs / "docker", f"#!{sys.executable} -SE\n" + (HERE / "standin_docker.py").read_text())
    monkeypatch.setenv("STANDIN_IMAGES", f"{IMAGE} mine:1")
    monkeypatch.setenv("STANDIN_CALLS", str(tmp_path / "docker-calls"))
    return tmp_path / "docker-calls"


def runs(calls: Path) -> list[list[str]]:
    return [words for words in map(json.loads, calls.read_text().splitlines()) if words[1] == "run"]


def test_trtexec_comes_first_then_tensorrts_python() -> None:
    assert choose_program("/bin/trtexec", ("tensorrt", "pycuda")) == ("sh", "run.sh")
    assert choose_program(None, ()) == (sys.executable, "runner.py")


@pytest.mark.parametrize(
    ("missing", "words"), [(("pycuda",), "no pycuda;"), (("tensorrt", "pycuda"), "no tensorrt and no pycuda;")]
)
def test_without_either_is_ek707_with_the_other_ways(missing: tuple[str, ...], words: str) -> None:
    with pytest.raises(TargetError, match="EK707 ") as caught:
        choose_program(None, missing)
    for word in (words, "--host", "--container", "--bundle"):
        assert word in str(caught.value)


def test_trtexec_is_found_on_path_or_by_its_variable(here: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_program() == ("sh", "run.sh")
    monkeypatch.setenv("TRTEXEC", str(Path(here.environment["PATH"].split(":")[0]) / "trtexec"))
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_program() == ("sh", "run.sh")


def test_an_engine_is_built_here_and_the_timing_cache_stays(here: Bundle, tmp_path: Path) -> None:
    shown: list[str] = []
    build_here(find_program(), here.folder, shown.append)
    answer = check_built(here.folder)
    assert (answer.tool, answer.device.tensorrt, answer.engine.build_seconds) == ("trtexec", "8.2.1", 12.5)
    assert "building the engine with TensorRT 8.2.1 (this takes minutes)" in shown
    (kept,) = (tmp_path / "cache" / "edgekit").iterdir()
    assert kept.read_text() == "cache "


def test_an_engine_is_built_with_tensorrts_python(
    here: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "pycuda").mkdir(parents=True)
    shutil.copy(HERE / "standin_tensorrt.py", site / "tensorrt.py")
    shutil.copy(HERE / "standin_pycuda.py", site / "pycuda" / "driver.py")
    (site / "pycuda" / "__init__.py").touch()
    variables = {"PYTHONPATH": site, "STANDIN_VERSION": "10.3.0", "EDGEKIT_WARMUP_MS": 0, "EDGEKIT_DURATION_S": 0}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    build_here(choose_program(None, ()), here.folder, lambda line: None)
    assert check_built(here.folder).device.compute_capability == "5.3"


@pytest.mark.parametrize(
    ("trouble", "code"),
    [("gpu", "EK703"), ("disk", "EK706"), ("no banner", "EK707"), ("memory", "EK708"), ("node", "EK712")],
)
def test_what_goes_wrong_is_told_with_the_end_of_the_log(
    here: Bundle, monkeypatch: pytest.MonkeyPatch, trouble: str, code: str
) -> None:
    monkeypatch.setenv("FAKE_TROUBLE", trouble)
    shown: list[str] = []
    with pytest.raises(TargetError, match=rf"^{code} .+; .+") as caught:
        build_here(find_program(), here.folder, shown.append)
    assert ("above" in str(caught.value)) == (code in ("EK708", "EK712"))
    assert any("[E]" in line or "[W]" in line for line in shown) == (code != "EK707")


def test_a_present_engine_of_another_version_that_is_to_be_kept_is_ek709(
    here: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_here(find_program(), here.folder, lambda line: None)
    monkeypatch.setenv("FAKE_VERSION", "8.6.1")
    monkeypatch.setenv("EDGEKIT_KEEP_ENGINE", "1")
    with pytest.raises(TargetError, match=r"EK709 .*tensorrt was 8\.2\.1 and is 8\.6\.1"):
        build_here(find_program(), here.folder, lambda line: None)


@pytest.mark.parametrize(("status", "code"), [(137, "EK708"), (-9, "EK708"), (1, "EK712"), (-11, "EK712")])
def test_a_program_that_says_nothing_has_a_code_too(status: int, code: str) -> None:
    assert failure(Outcome(status, ("Segmentation fault",)), "nano").code == code


def test_a_code_that_this_edgekit_does_not_know_is_ek712() -> None:
    error = failure(Outcome(2, ("EK799 something new; do something new",)), "nano")
    assert str(error) == "EK712 nano: something new; do something new"


def test_ctrl_c_ends_the_build_and_leaves_nothing_half_done(here: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TROUBLE", "hang")
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, here.folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        while not any(here.folder.glob(".edgekit.*/model.engine")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    finally:
        process.kill()
    assert here.temporary() == []
    assert not (here.folder / "model.engine").exists()


def test_the_same_bundle_runs_in_a_container(here: Bundle, docker: Path, tmp_path: Path) -> None:
    container = find_container(IMAGE, jetson=True)
    build_in_container(container, here.folder, lambda line: None)
    # The board's files reach run.sh, and the timing cache stays.
    assert check_built(here.folder).device.l4t == "32.7.1"
    (kept,) = (tmp_path / "cache" / "edgekit").iterdir()
    assert kept.name == "timing-8.2.1-NVIDIA_Jetson_Nano_Developer_Kit.cache"
    (words,) = runs(docker)
    assert words[:3] == ["docker", "run", "--rm"]
    assert words[-4:-1] == ["sh", IMAGE, "-c"]
    assert words[words.index("--network") + 1] == "none"
    assert words[words.index("--user") + 1] == f"{os.geteuid()}:{os.getegid()}"


MOUNTS = Mounts(Path("/a/bundle"), Path("/b"), None)


@pytest.mark.parametrize(
    ("engine", "jetson", "expected"),
    [
        ("docker", True, ["--runtime nvidia", "--group-add 44", "--group-add 104"]),
        ("docker", False, ["--gpus all"]),
        ("podman", True, ["--device nvidia.com/gpu=all", "--group-add keep-groups"]),
        ("podman", False, ["--device nvidia.com/gpu=all", "--group-add keep-groups"]),
    ],
)
def test_each_container_engine_and_board_gives_the_gpu_in_its_way(
    engine: str, jetson: bool, expected: list[str]
) -> None:
    words = container_command(Container(engine, IMAGE, jetson), MOUNTS, "name", (44, 104))
    line = " ".join(words)
    ways = ("--runtime nvidia", "--gpus all", "--device nvidia.com/gpu=all")
    assert [way for way in ways if way in line] == [way for way in ways if way in expected]
    assert [f"--group-add {words[index + 1]}" for index, word in enumerate(words) if word == "--group-add"] == [
        option for option in expected if option.startswith("--group-add")
    ]


def test_a_folder_with_a_comma_is_mounted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_RUNS", "5")
    mounts = Mounts(Path("/a,b"), Path("/b"), Path("/c"))
    words = container_command(Container("docker", IMAGE, False), mounts, "name", ())
    assert 'type=bind,"source=/a,b",target=/bundle' in words
    assert "type=bind,source=/b,target=/board,readonly" in words
    assert {"EDGEKIT_ROOT=/board", "EDGEKIT_CACHE=/cache", "EDGEKIT_RUNS=5"} <= set(words)


def test_what_docker_lacks_is_told(here: Bundle, docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match=r"EK705 --container: docker has no image other:2; .*docker pull other:2"):
        find_container("other:2", jetson=True)
    monkeypatch.setenv("STANDIN_DOCKER", "runtime")
    with pytest.raises(TargetError, match=r"EK704 --container: .*unknown or invalid runtime name.*toolkit"):
        build_in_container(find_container(IMAGE, jetson=True), here.folder, lambda line: None)
    monkeypatch.setenv("STANDIN_DOCKER", "off")
    with pytest.raises(TargetError, match=r"EK704 --container: docker does not run: Cannot connect"):
        find_container(IMAGE, jetson=True)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TargetError, match="EK704 --container: neither docker nor podman"):
        find_container(IMAGE, jetson=True)


def test_a_build_that_fails_in_a_container_says_why(
    here: Bundle, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TROUBLE", "killed")
    with pytest.raises(TargetError, match=f"EK708 {IMAGE}: .*killed"):
        build_in_container(find_container(IMAGE, jetson=True), here.folder, lambda line: None)


def test_a_machine_without_a_boards_files_runs_a_container_too(
    here: Bundle, docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "x86", {"etc/hostname": "pc\n"})
    monkeypatch.setenv("EDGEKIT_ROOT", str(tmp_path / "x86"))
    build_in_container(find_container("mine:1", jetson=False), here.folder, lambda line: None)
    assert check_built(here.folder).device.model is None
