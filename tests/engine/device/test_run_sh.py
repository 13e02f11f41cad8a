"""run.sh under dash with a stand-in for trtexec: the flow and the command lines, no numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from device_bundle import Bundle, check_failure

SHELLS = [name for name in ("dash", "busybox") if shutil.which(name)]
NANO = "NVIDIA Jetson Nano Developer Kit"
OLD: tuple[list[str], ...] = (["--workspace=1024"], ["--buildOnly"], ["--nvtxMode=verbose"], [])
NEW = (["--memPoolSize=workspace:1024"], ["--skipInference"], ["--profilingVerbosity=detailed"])
PINS = ["--noCudaGraph", "--noSpinWait", "--includeDataTransfers"]
DIALECTS = {"8.2.1": OLD, "8.6.1": (*NEW, []), "10.3.0": (*NEW, []), "11.4.0": (*NEW, PINS)}


def command(shell: str = "dash") -> list[str]:
    return [shell, "sh", "run.sh"] if shell == "busybox" else [shell, "run.sh"]


def run(bundle: Bundle, *arguments: str, shell: str = "dash", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**bundle.environment, **variables}
    words = [*command(shell), *arguments]
    return subprocess.run(words, cwd=bundle.folder, env=environment, capture_output=True, text=True, check=False)


def succeed(bundle: Bundle, *arguments: str, **variables: str) -> dict[str, Any]:
    done = run(bundle, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    assert bundle.temporary() == []
    return bundle.result()


def calls(bundle: Bundle) -> list[list[str]]:
    """The command lines of trtexec with the name of the working folder taken out."""
    text = Path(bundle.environment["FAKE_CALLS"]).read_text()
    return [json.loads(re.sub(r"\./\.edgekit\.\w+", "WORK", line)) for line in text.splitlines()]


@pytest.mark.parametrize("version", DIALECTS)
def test_each_version_is_spoken_to_in_its_dialect(bundle: Bundle, version: str) -> None:
    typing = "strong" if version == "11.4.0" else "weak"
    bundle.set(typing=typing, samples=["000", "001"])
    result = succeed(bundle, FAKE_VERSION=version)
    memory, build_only, verbosity, pins = DIALECTS[version]
    precision = [] if typing == "strong" else ["--fp16"]
    build = ["--onnx=model.onnx", "--saveEngine=WORK/model.engine", *memory, *precision, *build_only]
    load, short = "--loadEngine=model.engine", ["--warmUp=0", "--duration=0", "--iterations=1"]
    output = "--exportOutput=WORK/output"
    timing = [load, "--warmUp=500", "--duration=5", "--iterations=10", "--avgRuns=10", *pins]
    assert calls(bundle) == [
        [*build, "--timingCacheFile=WORK/timing.cache", *verbosity],
        [load, *short, *pins, *verbosity, "--exportLayerInfo=WORK/layers"],
        *([*timing, f"--exportTimes=WORK/times.{number}"] for number in (1, 2, 3)),
        *([load, f"--loadInputs=input:sample/{name}.bin", *short, *pins, output] for name in ("000", "001")),
    ]
    assert result["device"]["tensorrt"] == version
    # What the stand-in answers with graphs and spinning off and transfers on, whatever its defaults are.
    assert {(entry["computeMs"], entry["latencyMs"]) for entry in result["runs"][0]["times"]} == {(1.5, 2.0)}
    assert result["outputs"]["001"] == [1 + index / 4 for index in range(10)]


@pytest.mark.parametrize(
    ("version", "precision", "typing", "flags"),
    [
        ("8.2.1", "fp32", "weak", []),
        ("8.6.1", "int8", "weak", ["--int8", "--fp16"]),
        ("10.3.0", "int8", "strong", ["--stronglyTyped"]),
        ("11.4.0", "int8", "weak", []),
    ],
)
def test_precision_becomes_flags(bundle: Bundle, version: str, precision: str, typing: str, flags: list[str]) -> None:
    bundle.set(precision=precision, typing=typing)
    succeed(bundle, "--samples-only", FAKE_VERSION=version)
    known = {"--fp16", "--int8", "--best", "--stronglyTyped"}
    assert [word for word in calls(bundle)[0] if word in known] == flags


@pytest.mark.parametrize(("version", "typing"), [("8.6.1", "strong"), ("11.4.0", "weak")])
def test_typing_that_a_version_lacks_is_refused(bundle: Bundle, version: str, typing: str) -> None:
    bundle.set(typing=typing)
    check_failure(bundle, run(bundle, FAKE_VERSION=version), "EK712", version)


@pytest.mark.parametrize("shell", SHELLS)
def test_result_json_has_the_agreed_shape(bundle: Bundle, shell: str) -> None:
    done = run(bundle, shell=shell)
    assert done.returncode == 0, done.stderr
    assert "p50 1.5 ms, p90 1.5 ms, p99 1.5 ms (60 times)" in done.stdout
    result = bundle.result()
    keys = ["schema", "bundle", "tool", "device", "engine", "settings", "runs", "layers", "outputs", "power"]
    assert list(result) == keys
    sums = {line.split()[1]: line.split()[0] for line in (bundle.folder / "SHA256SUMS").read_text().splitlines()}
    assert (result["schema"], result["bundle"], result["tool"]) == (1, sums["bundle.json"], "trtexec")
    assert result["device"] == {
        "model": NANO,
        "l4t": "32.7.1",
        "tensorrt": "8.2.1",
        "cuda": "10.2",
        "nvpmodel": "MAXN",
        "clocks": {"cpu0_khz": 1479000, "gpu_hz": 921600000},
        "compute_capability": "5.3",
    }
    assert result["engine"]["size_bytes"] == (bundle.folder / "model.engine").stat().st_size
    assert (result["engine"]["file"], result["engine"]["build_seconds"]) == ("model.engine", 12.5)
    pins = {"cuda_graph": False, "spin_wait": False, "data_transfers": True}
    assert result["settings"] == {"warmup_ms": 500, "duration_s": 5, "runs": 3, **pins}
    assert [len(entry["times"]) for entry in result["runs"]] == [20, 20, 20]
    assert result["layers"]["Layers"][0]["Name"] == 'conv "1" {\\'
    assert result["power"]["source"].endswith("in_power1_input (POM_5V_IN)")
    assert set(result["power"]["samples"]) == {4321}


def test_a_machine_without_sensors_gives_nulls(bundle: Bundle, tmp_path: Path) -> None:
    result = succeed(bundle, EDGEKIT_ROOT=str(tmp_path / "nothing"), EDGEKIT_RUNS="1", PATH=without_nvpmodel(bundle))
    device = result["device"]
    assert [device[key] for key in ("model", "l4t", "cuda", "nvpmodel")] == [None] * 4
    assert (device["clocks"], result["power"], result["settings"]["runs"]) == ({}, None, 1)


def without_nvpmodel(bundle: Bundle) -> str:
    (Path(bundle.environment["PATH"].split(":")[0]) / "nvpmodel").unlink()
    return bundle.environment["PATH"]


def test_power_of_later_layouts_is_voltage_times_current(bundle: Bundle) -> None:
    shutil.rmtree(bundle.root / "sys" / "bus")
    folder = bundle.root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True)
    readings = {"in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "900", "in2_input": "1", "in7_input": "9"}
    for name, text in readings.items():
        (folder / name).write_text(text + "\n")
    result = succeed(bundle, EDGEKIT_RUNS="1", FAKE_TROUBLE="slow")
    assert result["power"]["source"] == f"{folder}/in1_input (VDD_IN)"
    # Read twice a second while 1.2 s are being timed.
    assert len(result["power"]["samples"]) > 1
    assert set(result["power"]["samples"]) == {4500}


def test_samples_only_times_nothing(bundle: Bundle) -> None:
    result = succeed(bundle, "--samples-only")
    assert (result["runs"], result["settings"]["runs"], result["power"]) == ([], 0, None)
    assert list(result["outputs"]) == ["000"]
    assert not any("--exportTimes" in word for call in calls(bundle) for word in call)


def test_what_is_no_json_is_not_embedded(bundle: Bundle) -> None:
    result = succeed(bundle, "--samples-only", FAKE_TROUBLE="nan")
    assert result["layers"] is None
    assert result["outputs"]["000"][:4] == [0, None, None, 0.75]


def test_an_input_with_a_colon_is_quoted(bundle: Bundle) -> None:
    bundle.set(input={"name": "input:0", "shape": [1, 3, 4, 4]})
    succeed(bundle, "--samples-only")
    assert "--loadInputs='input:0':sample/000.bin" in calls(bundle)[-1]


def test_an_engine_that_fits_is_reused(bundle: Bundle) -> None:
    assert succeed(bundle, "--samples-only")["engine"]["build_seconds"] == 12.5
    again = succeed(bundle, "--samples-only", EDGEKIT_KEEP_ENGINE="1")
    assert again["engine"]["build_seconds"] is None
    assert again["layers"] is not None
    assert succeed(bundle, "--samples-only", "--rebuild")["engine"]["build_seconds"] == 12.5


def stale(bundle: Bundle, kind: str) -> dict[str, str]:
    """Make the engine that is there unfit; returns the variables of the next run."""
    if kind == "device":
        (bundle.root / "proc/device-tree/model").write_text("NVIDIA Jetson TX2\0")
    elif kind == "unknown":
        (bundle.folder / "engine.json").unlink()
    elif kind == "precision":
        bundle.set(precision="fp32")
    return {"FAKE_VERSION": "8.6.1"} if kind == "tensorrt" else {}


@pytest.mark.parametrize("kind", ["tensorrt", "device", "precision", "unknown"])
def test_an_engine_that_does_not_fit_is_rebuilt_or_kept(bundle: Bundle, kind: str) -> None:
    succeed(bundle, "--samples-only")
    (bundle.folder / "result.json").unlink()
    variables = stale(bundle, kind)
    content = (bundle.folder / "model.engine").read_bytes()
    kept = run(bundle, "--samples-only", EDGEKIT_KEEP_ENGINE="1", **variables)
    check_failure(bundle, kept, "EK709", "EDGEKIT_KEEP_ENGINE", {"unknown": "nothing says"}.get(kind, f"{kind} was"))
    assert (bundle.folder / "model.engine").read_bytes() == content
    done = run(bundle, "--samples-only", **variables)
    assert (done.returncode, done.stderr.count("EK709")) == (0, 1)
    assert bundle.result()["engine"]["build_seconds"] == 12.5


def test_a_timing_cache_stays_for_each_version_and_board(bundle: Bundle, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    for version in ("8.2.1", "8.2.1", "8.6.1"):
        (bundle.folder / "timing.cache").unlink(missing_ok=True)
        succeed(bundle, "--samples-only", "--rebuild", FAKE_VERSION=version, EDGEKIT_CACHE=str(kept))
    board = "NVIDIA_Jetson_Nano_Developer_Kit"
    assert {path.name: path.read_text() for path in kept.iterdir()} == {
        f"timing-8.2.1-{board}.cache": "cache cache ",
        f"timing-8.6.1-{board}.cache": "cache ",
    }


def test_a_folder_for_timing_caches_that_is_not_there_is_no_error(bundle: Bundle) -> None:
    succeed(bundle, "--samples-only", EDGEKIT_CACHE="/nowhere")


def test_a_missing_trtexec_is_told(bundle: Bundle) -> None:
    check_failure(bundle, run(bundle, TRTEXEC="/nowhere/trtexec"), "EK707", "/nowhere/trtexec", "JetPack")
    check_failure(bundle, run(bundle, FAKE_TROUBLE="no banner"), "EK707", "version")


@pytest.mark.parametrize(
    ("trouble", "code", "word"),
    [
        ("gpu", "EK703", "error: 35"),
        ("killed", "EK708", "swap"),
        ("memory", "EK708", "1024 MiB"),
        ("disk", "EK706", "space"),
        ("node", "EK712", "HardSwish"),
    ],
)
def test_a_failed_build_says_why(bundle: Bundle, trouble: str, code: str, word: str) -> None:
    check_failure(bundle, run(bundle, FAKE_TROUBLE=trouble), code, word)
    assert (bundle.folder / "build.log").exists()
    assert not (bundle.folder / "model.engine").exists()


@pytest.mark.parametrize("trouble", ["engine", "short times"])
def test_an_engine_that_does_not_run_is_told(bundle: Bundle, trouble: str) -> None:
    check_failure(bundle, run(bundle, FAKE_TROUBLE=trouble), "EK712", "run.log")


def test_a_small_disk_is_told_before_the_build(bundle: Bundle) -> None:
    fake = Path(bundle.environment["PATH"].split(":")[0]) / "df"
    fake.write_text("#!/bin/sh\necho header; echo 'disk 100 61 39 61% /'\n")
    fake.chmod(0o755)
    check_failure(bundle, run(bundle), "EK706", "39 KiB", "40 KiB")
    assert not Path(bundle.environment["FAKE_CALLS"]).exists()


@pytest.mark.parametrize("name", ["result.json.part", "engine.json.part"])
def test_a_full_disk_is_told(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).symlink_to("/dev/full")
    check_failure(bundle, run(bundle, "--samples-only"), "EK706", "space")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write in any folder")
def test_a_folder_that_cannot_be_written_is_told(bundle: Bundle) -> None:
    bundle.folder.chmod(0o500)
    try:
        check_failure(bundle, run(bundle), "EK706", "folder of your own")
    finally:
        bundle.folder.chmod(0o700)


def test_a_sample_of_another_size_is_told(bundle: Bundle) -> None:
    (bundle.folder / "sample" / "000.bin").write_bytes(bytes(188))
    bundle.set()
    check_failure(bundle, run(bundle), "EK710", "sample/000.bin", "188", "192")


@pytest.mark.parametrize("name", ["model.onnx", "sample/001.bin", "bundle.json", "SHA256SUMS"])
def test_a_missing_file_is_told(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    check_failure(bundle, run(bundle), "EK711", name, "copy")


def test_a_damaged_file_is_told(bundle: Bundle) -> None:
    (bundle.folder / "classes.txt").write_text("another\n")
    check_failure(bundle, run(bundle), "EK711", "classes.txt")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(bundle: Bundle, number: signal.Signals) -> None:
    environment = {**bundle.environment, "FAKE_TROUBLE": "hang"}
    process = subprocess.Popen(
        command(), cwd=bundle.folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    until(lambda: any(bundle.folder.glob(".edgekit.*/model.engine")))
    started = time.monotonic()
    # Ctrl-C reaches the whole group; the shell alone must do for SIGTERM.
    if number is signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert time.monotonic() - started < 5
    assert bundle.temporary() == []
    assert not (bundle.folder / "model.engine").exists()
    assert not alive("trtexec", bundle)


def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it never happened")


def alive(name: str, bundle: Bundle) -> bool:
    """Whether a process of this bundle's programs still runs."""
    program = str(Path(bundle.environment["PATH"].split(":")[0]) / name)
    lines = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    return any(program.encode() in line for line in lines)


def test_help_and_unknown_options(bundle: Bundle) -> None:
    assert "--samples-only" in run(bundle, "--help").stdout
    assert run(bundle, "--frobnicate").returncode == 2


@pytest.mark.parametrize("name", ["run.sh", "session.sh"])
def test_shellcheck_has_no_finding(name: str) -> None:
    program = Path(sys.executable).with_name("shellcheck")
    script = Path(__file__).parents[3] / "edgekit" / "engine" / "device" / name
    done = subprocess.run([str(program), str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
