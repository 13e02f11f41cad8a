"""Bundles: reproducible, whole or not there, and understood by the program that runs on the device."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.cli._main import run
from edgekit.errors import DataError, TargetError, UsageError
from edgekit.pipeline.build import BundleRequest, make_bundle

FAKE = Path(__file__).parent / "device" / "fake_trtexec.py"


def request(folder: Path, target: str = "jetson-nano", **others: object) -> BundleRequest:
    return BundleRequest(None, target, folder, samples=3, **others)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the model that ships for a Jetson Nano."""
    folder = tmp_path_factory.mktemp("nano") / "bundle"
    make_bundle(request(folder))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_holds_what_the_device_needs_and_nothing_else(nano: Path) -> None:
    assert sorted(contents(nano)) == [
        "SHA256SUMS", "bundle.env", "bundle.json", "classes.txt", "model.onnx", "plan.json", "preprocessing.json",
        "run.sh", "runner.py", "sample/000.bin", "sample/001.bin", "sample/002.bin", "sample/expected.json",
    ]  # fmt: skip
    assert stat.S_IMODE((nano / "run.sh").stat().st_mode) == 0o755
    facts = json.loads((nano / "bundle.json").read_text())
    assert (facts["target"], facts["precision"], facts["typing"], facts["tensorrt"], facts["workspace_mib"]) == (
        "jetson-nano", "fp16", "weak", "8.2.1", 1024,
    )  # fmt: skip
    assert facts["input"]["shape"][0] == 1
    assert (nano / "classes.txt").read_text().splitlines()[:2] == ["airplane", "automobile"]


def test_every_file_has_its_hash(nano: Path) -> None:
    files = contents(nano)
    sums = dict(line.split("  ")[::-1] for line in files.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    named = json.loads(files["bundle.json"])["files"]
    assert named == {name: digest for name, digest in sums.items() if name not in ("bundle.json", "bundle.env")}


def test_the_expected_outputs_are_those_of_the_model_in_the_bundle(nano: Path) -> None:
    session = onnxruntime.InferenceSession(nano / "model.onnx", providers=["CPUExecutionProvider"])
    shape = json.loads((nano / "bundle.json").read_text())["input"]["shape"]
    expected = json.loads((nano / "sample" / "expected.json").read_text())
    for name, logits in expected.items():
        image = np.fromfile(nano / "sample" / f"{name}.bin", "<f4").reshape(shape)
        np.testing.assert_allclose(session.run(None, {"input": image})[0][0], logits, rtol=1e-4, atol=1e-4)


def test_the_same_request_gives_the_same_bytes_and_replaces_an_earlier_bundle(nano: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    make_bundle(request(folder, "jetson-agx-orin"))
    (folder / "result.json").write_text("of the model before")
    make_bundle(request(folder))
    assert contents(folder) == contents(nano)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_strongly_typed_target_gets_an_fp16_file(tmp_path: Path) -> None:
    make_bundle(request(tmp_path / "orin", "jetson-agx-orin"))
    model = onnx.load(tmp_path / "orin" / "model.onnx")
    assert {tensor.data_type for tensor in model.graph.initializer} == {onnx.TensorProto.FLOAT16}
    assert "TYPING=strong\n" in (tmp_path / "orin" / "bundle.env").read_text()


def test_the_devices_program_builds_times_and_answers(nano: Path, tmp_path: Path) -> None:
    """Against the stand-in for trtexec, which computes nothing: the flow is proved, no number is."""
    programs = tmp_path / "bin"
    programs.mkdir()
    trtexec = programs / "trtexec"
    trtexec.write_text(f"#!{sys.executable} -SE\n" + FAKE.read_text())
    trtexec.chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}", "EDGEKIT_ROOT": str(tmp_path), "FAKE_VERSION": "8.2.1",
        "FAKE_CALLS": str(tmp_path / "calls"), "EDGEKIT_DURATION_S": "1",
    }  # fmt: skip
    copy = tmp_path / "carried"
    make_bundle(request(copy))
    done = subprocess.run(["dash", copy / "run.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((copy / "result.json").read_text())
    assert result["bundle"] == hashlib.sha256((copy / "bundle.json").read_bytes()).hexdigest()
    assert (result["device"]["tensorrt"], len(result["runs"]), sorted(result["outputs"])) == (
        "8.2.1", 3, ["000", "001", "002"],
    )  # fmt: skip
    build = next(json.loads(line) for line in (tmp_path / "calls").read_text().splitlines() if "--onnx" in line)
    assert {"--fp16", "--workspace=1024"} <= set(build)


def test_a_folder_with_something_else_is_ek003_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"EK003 .*not a bundle"):
        make_bundle(request(tmp_path))
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        make_bundle(request(tmp_path / "new", images=tmp_path / "nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_quantized_for_a_cpu_is_ek702(tmp_path: Path) -> None:
    assert run(["export", "--effort", "fast", "--calibration-samples", "8", "--eval-samples", "8", "--output",
                str(tmp_path / "cpu")]) == 0  # fmt: skip
    wrong = BundleRequest(str(tmp_path / "cpu" / "model.int8.onnx"), "jetson-orin-nano", tmp_path / "bundle")
    with pytest.raises(TargetError, match=r"EK702 .*quantized for another target"):
        make_bundle(wrong)


def test_the_command_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", "--target", "jetson-nano", "--bundle", str(tmp_path / "b"), "--samples", "2"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "wrote 12 files" in out
    assert "fp16 for TensorRT 8.2.1, opset 13" in out
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["precision"] == "fp16"
    assert run([*words[:-1], "0"]) == 2
    assert "EK001 --samples" in capsys.readouterr().err


def test_a_model_without_fitting_images_is_ek001(tmp_path: Path, shared_data: Path) -> None:
    model = shared_data / "mobilenet_v1_0.25_224_imagenet.safetensors"
    with pytest.raises(UsageError, match=r"EK001 --images: .*other classes"):
        make_bundle(BundleRequest(str(model), "jetson-nano", tmp_path / "bundle"))
