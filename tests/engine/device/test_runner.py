"""runner.py with stand-ins for tensorrt and pycuda in the style of 8.2, 10 and 11: the flow, no numbers."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_bundle import Bundle, check_failure
from PIL import Image

HERE = Path(__file__).parent
RUNNER = HERE.parents[2] / "edgekit" / "engine" / "device" / "runner.py"
VERSIONS = ["8.2.1.8", "10.3.0", "11.4.0"]
QUICK = {"EDGEKIT_WARMUP_MS": "0", "EDGEKIT_DURATION_S": "0"}
MIB = 1 << 20


def run(bundle: Bundle, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "runner.py", *arguments]
    environment = environment_of(bundle, **variables)
    return subprocess.run(words, cwd=bundle.folder, env=environment, capture_output=True, text=True, check=False)


def environment_of(bundle: Bundle, **variables: str) -> dict[str, str]:
    """Put the stand-ins on PYTHONPATH under the names of what they stand for."""
    site = bundle.root.parent / "site"
    (site / "pycuda").mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "standin_tensorrt.py", site / "tensorrt.py")
    shutil.copy(HERE / "standin_pycuda.py", site / "pycuda" / "driver.py")
    (site / "pycuda" / "__init__.py").touch()
    return {**bundle.environment, **QUICK, "PYTHONPATH": str(site), "STANDIN_VERSION": "8.2.1.8", **variables}


def succeed(bundle: Bundle, *arguments: str, **variables: str) -> dict[str, Any]:
    done = run(bundle, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    assert bundle.temporary() == []
    return bundle.result()


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_is_built_and_run_in_its_way(bundle: Bundle, version: str) -> None:
    new = version.startswith("11")
    bundle.set(precision="int8", typing="strong" if new else "weak", samples=["000", "001"])
    result = succeed(bundle, STANDIN_VERSION=version)
    engine = json.loads((bundle.folder / "model.engine").read_text())
    old = version.startswith("8")
    assert engine == {
        "network": 1 if old else 0,
        "flags": [] if new else ["INT8", "FP16"],
        "memory": 1024 * MIB if old else ["workspace", 1024 * MIB],
        "verbosity": "detailed",
    }
    assert result["outputs"]["001"] == [1 + index / 4 for index in range(10)]
    assert result["device"]["tensorrt"] == ".".join(version.split(".")[:3])


def test_strong_typing_is_a_flag_of_the_network_in_10(bundle: Bundle) -> None:
    bundle.set(typing="strong")
    succeed(bundle, STANDIN_VERSION="10.3.0")
    engine = json.loads((bundle.folder / "model.engine").read_text())
    assert (engine["network"], engine["flags"]) == (2, [])


def test_typing_that_a_version_lacks_is_refused(bundle: Bundle) -> None:
    check_failure(bundle, run(bundle, STANDIN_VERSION="11.4.0"), "EK712", "11", "weak")


def test_result_json_has_the_agreed_shape(bundle: Bundle) -> None:
    done = run(bundle)
    assert "p50 0.500 ms, p90 0.500 ms, p99 0.500 ms (30 times)" in done.stdout
    result = bundle.result()
    keys = {"schema", "bundle", "tool", "device", "engine", "settings", "runs", "layers", "outputs", "power"}
    assert set(result) == keys
    assert (result["schema"], result["tool"], result["layers"]) == (1, "runner.py", {"Layers": ["conv 1"]})
    assert result["device"] == {
        "model": "NVIDIA Jetson Nano Developer Kit",
        "l4t": "32.7.1",
        "tensorrt": "8.2.1",
        "cuda": "10.2",
        "nvpmodel": "MAXN",
        "clocks": {"cpu0_khz": 1479000, "gpu_hz": 921600000},
        "compute_capability": "5.3",
    }
    assert set(result["engine"]) == {"file", "sha256", "size_bytes", "build_seconds"}
    pins = {"cuda_graph": False, "spin_wait": False, "data_transfers": True}
    assert result["settings"] == {"warmup_ms": 0, "duration_s": 0, "runs": 3, **pins}
    assert result["runs"] == [{"times": [{"computeMs": 0.5, "latencyMs": 1.5}] * 10}] * 3
    assert result["power"]["source"].endswith("in_power1_input (POM_5V_IN)")
    assert set(result["power"]["samples"]) == {4321}


def test_power_of_later_layouts_is_voltage_times_current(bundle: Bundle) -> None:
    shutil.rmtree(bundle.root / "sys" / "bus")
    folder = bundle.root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    folder.mkdir(parents=True)
    for name, text in {"in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "900", "in7_input": "9"}.items():
        (folder / name).write_text(text + "\n")
    power = succeed(bundle)["power"]
    assert (power["source"], set(power["samples"])) == (f"{folder}/in1_input (VDD_IN)", {4500})


def test_both_programs_know_each_others_engine(bundle: Bundle) -> None:
    assert succeed(bundle)["engine"]["build_seconds"] is not None
    words = ["dash", "run.sh", "--samples-only"]
    environment = {**bundle.environment, "EDGEKIT_KEEP_ENGINE": "1"}
    done = subprocess.run(words, cwd=bundle.folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    subprocess.run([*words, "--rebuild"], cwd=bundle.folder, env=bundle.environment, capture_output=True, check=True)
    assert succeed(bundle, EDGEKIT_KEEP_ENGINE="1")["engine"]["build_seconds"] is None


def test_an_engine_of_another_version_is_rebuilt_or_kept(bundle: Bundle) -> None:
    succeed(bundle)
    (bundle.folder / "result.json").unlink()
    kept = run(bundle, STANDIN_VERSION="10.3.0", EDGEKIT_KEEP_ENGINE="1")
    check_failure(bundle, kept, "EK709", "tensorrt was 8.2.1 and is 10.3.0")
    done = run(bundle, STANDIN_VERSION="10.3.0")
    assert (done.returncode, done.stderr.count("EK709")) == (0, 1)
    assert bundle.result()["engine"]["build_seconds"] is not None


def test_a_missing_package_is_told(bundle: Bundle) -> None:
    environment = environment_of(bundle)
    shutil.rmtree(bundle.root.parent / "site" / "pycuda")
    words = [sys.executable, "runner.py"]
    done = subprocess.run(words, cwd=bundle.folder, env=environment, capture_output=True, text=True, check=False)
    check_failure(bundle, done, "EK707", "pycuda", "run.sh")


@pytest.mark.parametrize(
    ("trouble", "code", "word"),
    [
        ("gpu", "EK703", "no CUDA-capable device"),
        ("killed", "EK708", "swap"),
        ("memory", "EK708", "1024 MiB"),
        ("node", "EK712", "HardSwish"),
        ("unreadable", "EK712", "--rebuild"),
        ("half", "EK712", "float32"),
        ("engine", "EK712", "could not run"),
    ],
)
def test_trouble_is_told(bundle: Bundle, trouble: str, code: str, word: str) -> None:
    check_failure(bundle, run(bundle, STANDIN_TROUBLE=trouble), code, word)


def test_a_full_disk_is_told(bundle: Bundle) -> None:
    (bundle.folder / "result.json.part").symlink_to("/dev/full")
    check_failure(bundle, run(bundle), "EK706", "space")


def test_a_sample_of_another_size_is_told(bundle: Bundle) -> None:
    (bundle.folder / "sample" / "000.bin").write_bytes(bytes(188))
    bundle.set()
    check_failure(bundle, run(bundle), "EK710", "000.bin", "188", "192")


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json"])
def test_a_missing_file_is_told(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    check_failure(bundle, run(bundle), "EK711", name, "copy")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(bundle: Bundle, number: signal.Signals) -> None:
    environment = environment_of(bundle, STANDIN_TROUBLE="hang")
    words = [sys.executable, "runner.py"]
    process = subprocess.Popen(words, cwd=bundle.folder, env=environment, stderr=subprocess.DEVNULL)
    for _ in range(500):
        if (bundle.folder / "build.log").exists():
            break
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(10) == 128 + number
    assert bundle.temporary() == []


def write_pictures(folder: Path) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, size in (("b.png", (9, 7)), ("a.jpg", (5, 5)), ("wide.png", (40, 3))):
        Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_frames_of_a_folder_are_classified(bundle: Bundle, tmp_path: Path) -> None:
    done = run(bundle, "--frames", str(write_pictures(tmp_path / "frames")), "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == ["a.jpg", "b.png", "wide.png"]
    assert all(re.fullmatch(r"class \d", line["class"]) and 0.1 <= line["probability"] <= 1 for line in lines)
    assert not (bundle.folder / "result.json").exists()


def test_frames_as_text_and_a_folder_without_pictures(bundle: Bundle, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames")
    line = run(bundle, "--frames", str(folder)).stdout.splitlines()[0]
    assert re.fullmatch(r"a\.jpg  class \d  [01]\.\d{3}  \d+\.\d frames/s", line)
    for path in folder.iterdir():
        path.unlink()
    check_failure(bundle, run(bundle, "--frames", str(folder)), "EK710", "no pictures")


def test_a_camera_without_opencv_is_told(bundle: Bundle) -> None:
    environment_of(bundle)
    (bundle.root.parent / "site" / "cv2.py").write_text("raise ImportError('No module named cv2')\n")
    check_failure(bundle, run(bundle, "--frames", "/dev/video0"), "EK707", "cv2", "OpenCV")


def test_frames_of_a_camera_end_with_it(bundle: Bundle) -> None:
    environment_of(bundle)
    capture = "class VideoCapture:\n    def __init__(self, name): self.left = 3\n    def read(self):\n"
    body = "        self.left -= 1\n        return self.left >= 0, numpy.full((8, 6, 3), 7, 'uint8')\n"
    (bundle.root.parent / "site" / "cv2.py").write_text(f"import numpy\n{capture}{body}")
    assert len(run(bundle, "--frames", "/dev/video0").stdout.splitlines()) == 3


def load_runner() -> Any:
    spec = importlib.util.spec_from_file_location("runner", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [(40, 30), (30, 41), (33, 33), (20, 50), (12, 12)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_frames_are_preprocessed_as_everywhere_else(size: tuple[int, int], interpolation: str) -> None:
    from edgekit.data import preprocess
    from edgekit.spec import Preprocessing

    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    spec: dict[str, Any] = {"input_size": 24, "resize": 20 if size == (12, 12) else 28, "interpolation": interpolation}
    spec |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "layout": "NCHW"}
    expected = preprocess(Image.fromarray(pixels), Preprocessing.from_json(json.dumps(spec)))
    np.testing.assert_array_equal(load_runner().preprocess(np, Image.fromarray(pixels), spec), expected)


def test_it_is_python_3_6() -> None:
    program = Path(sys.executable).with_name("vermin")
    words = [str(program), "-t=3.6-", "--no-tips", str(RUNNER)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
