"""What `pip install` puts on a machine is enough for the main job, far from any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def run(*words: str, folder: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    result = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", str(folder), str(repository), folder=folder)
    (built,) = folder.glob("edgekit-*.whl")
    return built


def test_the_wheel_holds_the_model_the_sample_the_page_the_licence_and_the_types(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as built:
        names = set(built.namelist())
        shipped = {Path(name).name: built.read(name) for name in names if "/_shipped/calibration/" in name}
    assert "edgekit/assets/mobilenet_cifar10.safetensors" in names
    assert "edgekit/_shipped/calibration/manifest.json" in names
    # The sample comes whole: 512 images calibrate, 1,000 evaluate.
    for archive in ("cifar10_calibration.zip", "cifar10_evaluation.zip"):
        assert shipped[archive] == (repository / "calibration" / archive).read_bytes()
    assert {f"edgekit/report/html/templates/{name}" for name in ("page.html", "parts.html", "style.css")} <= names
    assert "edgekit/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "tools/")) for name in names)


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 8e6


@pytest.mark.slow
def test_the_installed_wheel_does_the_main_job_far_from_a_checkout(wheel: Path, tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site))
    run(*pip, str(wheel), folder=work)
    where = run(sys.executable, "-c", "import edgekit; print(edgekit.__file__)", folder=work, path=site)
    assert where.startswith(str(site))
    # Without the accuracy ladder, which README.md climbs: what a wheel may lack is files.
    sizes = ("--effort", "fast", "--calibration-samples", "16", "--eval-samples", "50", "--threads", "1")
    words = (sys.executable, "-m", "edgekit", "export", "--quantize", "static", *sizes, "--json")
    report = json.loads(run(*words, folder=work, path=site))
    assert report["int8"]["n"] == 50
    assert (work / "edgekit-out" / "model.int8.onnx").stat().st_size == report["int8"]["size_bytes"]
