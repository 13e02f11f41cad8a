"""A bundle as the host would write it, with a board's files below a folder of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

DEVICE = Path(__file__).parents[3] / "edgekit" / "engine" / "device"
HERE = Path(__file__).parent
SHAPE = (1, 3, 4, 4)
BOARD = {
    "proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n",
    "usr/local/cuda/version.txt": "CUDA Version 10.2.300\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1479000\n",
    "sys/devices/gpu.0/devfreq/57000000.gpu/cur_freq": "921600000\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "1111\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_GPU\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input": "4321\n",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_IN\n",
}


@dataclasses.dataclass
class Bundle:
    """A bundle on disk, what is below EDGEKIT_ROOT, and the environment its programs run in."""

    folder: Path
    root: Path
    environment: dict[str, str]

    def set(self, **facts: Any) -> None:
        """Change facts of the bundle and write everything that depends on them."""
        about = json.loads((self.folder / "bundle.json").read_text()) if (self.folder / "bundle.json").exists() else {}
        about |= facts
        about["files"] = {name: digest(self.folder / name) for name in self.files()}
        (self.folder / "bundle.json").write_text(json.dumps(about))
        shape = "x".join(map(str, about["input"]["shape"]))
        lines = {
            "PRECISION": about["precision"],
            "TYPING": about["typing"],
            "WORKSPACE_MIB": about["workspace_mib"],
            "INPUT": about["input"]["name"],
            "OUTPUT": about["output"]["name"],
            "INPUT_SHAPE": shape,
            "SAMPLES": " ".join(about["samples"]),
            "TARGET": about["target"],
        }
        (self.folder / "bundle.env").write_text("".join(f"{name}='{value}'\n" for name, value in lines.items()))
        names = [*self.files(), "bundle.json", "bundle.env"]
        sums = "".join(f"{digest(self.folder / name)}  {name}\n" for name in names)
        (self.folder / "SHA256SUMS").write_text(sums)

    def files(self) -> list[str]:
        samples = [f"sample/{path.name}" for path in sorted((self.folder / "sample").iterdir())]
        return ["model.onnx", "preprocessing.json", "classes.txt", "run.sh", "runner.py", *samples]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return found

    def temporary(self) -> list[str]:
        """Names of what a program must not leave behind."""
        return [path.name for path in self.folder.iterdir() if path.name.startswith(".") or path.suffix == ".part"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def make_bundle(tmp_path: Path) -> Bundle:
    # The folder's name has a space: people have such folders.
    folder, root, programs = tmp_path / "my bundle", tmp_path / "root", tmp_path / "bin"
    (folder / "sample").mkdir(parents=True)
    programs.mkdir()
    for name in ("run.sh", "runner.py"):
        shutil.copy(DEVICE / name, folder / name)
    (folder / "model.onnx").write_bytes(b"model" * 2000)
    spec = {"input_size": 4, "resize": 5, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}
    (folder / "preprocessing.json").write_text(json.dumps({**spec, "layout": "NCHW"}))
    (folder / "classes.txt").write_text("".join(f"class {index}\n" for index in range(10)))
    for number in range(2):
        values = [number + index / 4 for index in range(3 * 4 * 4)]
        (folder / "sample" / f"00{number}.bin").write_bytes(struct.pack("<48f", *values))
    (folder / "sample" / "expected.json").write_text("{}")
    write_tree(root, BOARD)
    executable(programs / "trtexec", f"#!{sys.executable} -SE\n" + (HERE / "fake_trtexec.py").read_text())
    executable(programs / "nvpmodel", "#!/bin/sh\necho 'NV Power Mode: MAXN'\necho 0\n")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "EDGEKIT_ROOT": str(root),
        "FAKE_VERSION": "8.2.1",
        "FAKE_CALLS": str(tmp_path / "calls"),
    }
    made = Bundle(folder, root, environment)
    facts = {"schema": 1, "edgekit": "0.1.0", "target": "jetson-nano", "precision": "fp16", "typing": "weak"}
    tensors = {"input": {"name": "input", "shape": [*SHAPE]}, "output": {"name": "output", "shape": [1, 10]}}
    made.set(**facts, **tensors, workspace_mib=1024, samples=["000"])
    return made


def check_failure(bundle: Bundle, done: subprocess.CompletedProcess[str], code: str, *words: str) -> None:
    """A program of the device failed with one line of that code and those words, and left nothing half-done."""
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(rf"{code} .+; .+", last), done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in last
    assert not (bundle.folder / "result.json").exists()
    assert bundle.temporary() == []
