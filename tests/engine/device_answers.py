"""Answers of a device for the tests of this folder: real bundles, run by stand-ins for trtexec and TensorRT.

The stand-ins compute nothing: an output is the beginning of its input, a time is a constant.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.pipeline.build import BundleRequest, make_bundle

STAND_INS = Path(__file__).parent / "device"
SAMPLES = 3
BOARD = {
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n",
    "usr/local/cuda/version.txt": "CUDA Version 10.2.300\n",
    "sys/devices/gpu.0/devfreq/57000000.gpu/cur_freq": "921600000\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "4321\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN\n",
}


def make(folder: Path, target: str = "jetson-nano", samples: int = SAMPLES) -> Path:
    """Write the bundle of the model that ships."""
    make_bundle(BundleRequest(None, target, folder, samples=samples))
    return folder


def run_with_trtexec(bundle: Path, *arguments: str, version: str = "8.2.1") -> None:
    """Let run.sh answer, with the stand-in for trtexec, on a board with a power sensor."""
    programs, root = bundle.parent / "bin", bundle.parent / "root"
    programs.mkdir(exist_ok=True)
    trtexec = programs / "trtexec"
    trtexec.write_text(f"#!{sys.executable} -SE\n" + (STAND_INS / "fake_trtexec.py").read_text())
    trtexec.chmod(0o755)
    for name, content in BOARD.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}", "EDGEKIT_ROOT": str(root), "FAKE_VERSION": version,
        "FAKE_CALLS": os.devnull,
    }  # fmt: skip
    words = ["dash", "run.sh", *arguments]
    subprocess.run(words, cwd=bundle, env=environment, capture_output=True, check=True)


def run_with_python(bundle: Path) -> None:
    """Let runner.py answer, with the stand-ins for tensorrt and pycuda, on a machine without a board's files."""
    site = bundle.parent / "site"
    (site / "pycuda").mkdir(parents=True, exist_ok=True)
    shutil.copy(STAND_INS / "standin_tensorrt.py", site / "tensorrt.py")
    shutil.copy(STAND_INS / "standin_pycuda.py", site / "pycuda" / "driver.py")
    (site / "pycuda" / "__init__.py").touch()
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(site), "STANDIN_VERSION": "8.2.1.8",
        "EDGEKIT_ROOT": str(site), "EDGEKIT_WARMUP_MS": "0", "EDGEKIT_DURATION_S": "0",
    }  # fmt: skip
    subprocess.run([sys.executable, "runner.py"], cwd=bundle, env=environment, capture_output=True, check=True)


def change(result: Path, alter: Callable[[dict[str, Any]], object], to: Path | None = None) -> Path:
    """Write an answer after a change, in its own place or elsewhere."""
    content = json.loads(result.read_text())
    alter(content)
    path = to or result
    path.write_text(json.dumps(content))
    return path


def answer_as_computed(bundle: Path, digits: int = 6) -> Callable[[dict[str, Any]], object]:
    """Return a change that puts in the outputs of a device that computes what the file computes on the CPU."""
    expected = json.loads((bundle / "sample" / "expected.json").read_text())
    rounded = {name: [float(f"{value:.{digits}g}") for value in row] for name, row in expected.items()}
    return lambda content: content.update(outputs=rounded)
