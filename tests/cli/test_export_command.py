"""`edgekit export`, the main job: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from command_line import QUICK, SMALL_V2, Outcome, edgekit, python, refusal

import edgekit as package
from edgekit.data import ImageSet, sample
from edgekit.models import load
from edgekit.spec import Preprocessing

STATIC_FILES = ["calibration.safetensors", "model.fp32.onnx", "model.int8.onnx", "preprocessing.json", "report.json"]


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def opset(path: Path) -> int:
    return next(int(entry.version) for entry in onnx.load(path).opset_import if entry.domain == "")


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_static_is_the_default_and_writes_exactly_the_promised_files(exported: Outcome, static_folder: Path) -> None:
    assert exported.err == ""
    assert files(static_folder) == STATIC_FILES
    assert (
        exported.out.splitlines()[-1] == f"wrote {', '.join([*STATIC_FILES[1:], STATIC_FILES[0]])} in {static_folder}/"
    )
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators(static_folder / "model.int8.onnx")
    assert report(static_folder)["quantization"]["mode"] == "static"
    assert edgekit("export", "--help").out.count("[default: static]") == 1


def test_the_report_keeps_its_schema(static_folder: Path, exported: Outcome, repository: Path) -> None:
    schema = json.loads((repository / "docs" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report(static_folder))


def test_the_terminal_says_what_the_report_says(exported: Outcome, static_folder: Path) -> None:
    written, rows = report(static_folder), {}
    for line in exported.out.splitlines():
        cells = re.split(r" {2,}", line.strip())
        rows[cells[0]] = cells[1:]
    fp32, int8, drift, latency = (written[name] for name in ("fp32", "int8", "drift", "latency"))
    assert rows["top-1"][:2] == [f"{fp32['top1']:.2f} %", f"{int8['top1']:.2f} %"]
    assert rows["top-5"][:2] == [f"{fp32['top5']:.2f} %", f"{int8['top5']:.2f} %"]
    assert rows["size"][:2] == [f"{fp32['size_bytes'] / 1e6:.2f} MB", f"{int8['size_bytes'] / 1e6:.2f} MB"]
    assert rows["agreement"][0].startswith(f"{drift['agreement']['value']:.2f} % [")
    assert rows["SQNR"][0].startswith(f"{drift['sqnr_db']['value']:.1f} dB [")
    assert rows["top-1"][2].startswith(f"{drift['top1_delta_pp']['value']:+.2f} pp [")
    assert rows["speed-up"][0].startswith(f"{latency['speedup']:.2f}x [")
    for name in ("p50", "p90", "p99"):
        shown = [float(cell.removesuffix(" ms")) for cell in rows[f"{name} a frame"]]
        assert shown == pytest.approx([latency["fp32_ms"][name], latency["int8_ms"][name]], abs=6e-3)
    assert f"Accuracy: on {fp32['n']} images" in exported.out


def test_the_report_tells_the_files_apart_by_hash_and_says_how_they_came_about(
    exported: Outcome, static_folder: Path
) -> None:
    written = report(static_folder)
    for name in ("fp32", "int8"):
        path = static_folder / written[name]["path"]
        assert (written[name]["sha256"], written[name]["size_bytes"]) == (sha256(path), path.stat().st_size)
    assert written["command"].startswith("edgekit export --quantize static --effort fast --calibration-samples 24 ")
    assert written["verification"]["max_abs_difference"] < 1e-3
    assert len(written["quantization"]["calibration_images"]) == written["data"]["calibration"]["n"] == 24
    assert written["data"]["evaluation"] == {
        "path": "the CIFAR-10 sample that ships with edgekit",
        "n": 100,
        "broken": 0,
    }


def test_int8_of_the_model_that_ships_keeps_its_answers_and_no_convolution_in_float(
    exported: Outcome, static_folder: Path
) -> None:
    assert report(static_folder)["drift"]["agreement"]["value"] >= 95
    assert edgekit("inspect", static_folder / "model.int8.onnx", "--json").facts["float_compute"] == []


@pytest.mark.parametrize("name", ["model.fp32.onnx", "model.int8.onnx"])
def test_the_onnx_files_carry_their_description(
    exported: Outcome, static_folder: Path, repository: Path, name: str
) -> None:
    stored = metadata(static_folder / name)
    preprocessing = Preprocessing.from_json(stored["edgekit.preprocessing"])
    assert preprocessing == load(None).preprocessing
    assert Preprocessing.from_json((static_folder / "preprocessing.json").read_text()) == preprocessing
    assert tuple(json.loads(stored["edgekit.classes"])) == sample().class_names
    assert stored["edgekit.version"] == package.__version__
    source = sha256(repository / "edgekit" / "assets" / "mobilenet_cifar10.safetensors")
    assert stored["edgekit.source_sha256"] == source == report(static_folder)["model"]["sha256"]
    assert json.loads(stored["edgekit.model"])["architecture"] == "mobilenet_v1"


def test_none_writes_fp32_alone(tmp_path: Path) -> None:
    outcome = edgekit("export", "--quantize", "none", *QUICK, "--output", tmp_path, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert files(tmp_path) == ["model.fp32.onnx", "preprocessing.json", "report.json"]
    assert outcome.facts == report(tmp_path)
    assert outcome.facts["int8"] is None
    assert outcome.facts["drift"] is None
    assert outcome.facts["latency"]["int8_ms"] is None
    assert operators(tmp_path / "model.fp32.onnx").isdisjoint({"Identity", "Constant", "BatchNormalization"})


def test_dynamic_quantizes_linear_layers_alone_and_says_why(tmp_path: Path) -> None:
    outcome = edgekit("export", "--quantize", "dynamic", *QUICK, "--output", tmp_path, "--json")
    assert files(tmp_path) == STATIC_FILES[1:]
    int8 = operators(tmp_path / "model.int8.onnx")
    assert "Conv" in int8
    assert "ConvInteger" not in int8
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= int8
    left = outcome.facts["quantization"]["float_nodes"]["by_reason"]
    (convolutions,) = (group for group in left if "ConvInteger" in group["reason"])
    assert convolutions["count"] == 27
    assert outcome.facts["quantization"]["calibration_images"] == []


@pytest.mark.parametrize("wanted", [13, 21])
def test_the_opset_is_the_one_that_was_asked_for(tmp_path: Path, wanted: int) -> None:
    output = ("--output", tmp_path, "--json", "--opset", wanted)
    few = ("--effort", "fast", "--calibration-samples", 8, "--eval-samples", 8, "--threads", 1)
    outcome = edgekit("export", *SMALL_V2, *few, *output)
    assert outcome.facts["model"]["opset"] == wanted
    assert opset(tmp_path / "model.fp32.onnx") == opset(tmp_path / "model.int8.onnx") == wanted


def test_an_opset_that_edgekit_does_not_write_is_ek401(tmp_path: Path) -> None:
    assert refusal(edgekit("export", "--opset", 9, "--output", tmp_path / "out")).startswith("EK401 ")
    assert files(tmp_path) == []


def test_the_name_of_an_architecture_stands_for_random_weights(tmp_path: Path) -> None:
    words = (*SMALL_V2, "--calibration-samples", 8, "--eval-samples", 20, "--threads", 1, "--output", tmp_path)
    facts = edgekit("export", *words, "--json").facts
    assert (facts["model"]["architecture"], facts["model"]["spec"]["width"]) == ("mobilenet_v2", 0.35)
    assert facts["model"]["sha256"] is None
    assert facts["fp32"]["top1"] is None
    assert facts["drift"]["agreement"] is not None
    assert any("the weights are random" in note["text"] for note in facts["notes"])
    assert edgekit("inspect", tmp_path / "model.int8.onnx", "--json").facts["float_compute"] == []


def test_an_onnx_file_is_a_model_too_and_comes_out_the_same(fp32: Path, static_folder: Path, tmp_path: Path) -> None:
    facts = edgekit("export", fp32, *QUICK, "--output", tmp_path, "--json").facts
    assert files(tmp_path) == STATIC_FILES
    assert facts["model"]["sha256"] == metadata(tmp_path / "model.int8.onnx")["edgekit.source_sha256"] == sha256(fp32)
    assert facts["verification"] is None
    before = report(static_folder)
    assert facts["fp32"]["top1"] == before["fp32"]["top1"]
    assert facts["int8"]["top1"] == before["int8"]["top1"]
    weights, again = (
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        for path in (static_folder / "model.int8.onnx", tmp_path / "model.int8.onnx")
    )
    assert weights.keys() == again.keys()
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_the_shape_of_an_onnx_file_cannot_be_changed_ek001(fp32: Path, tmp_path: Path) -> None:
    line = refusal(edgekit("export", fp32, "--input-size", 64, "--output", tmp_path / "out"))
    assert line.startswith("EK001 --input-size: an .onnx file has its architecture in it")


def test_a_quantized_model_is_not_quantized_again_ek504(int8: Path, tmp_path: Path) -> None:
    line = refusal(edgekit("export", int8, *QUICK, "--output", tmp_path / "out"))
    assert line.startswith("EK504 ")
    assert files(tmp_path) == []


def test_images_that_calibrate_are_not_evaluated(tree: Path, tmp_path: Path) -> None:
    words = ("--calibration", tree, "--calibration-samples", 20, "--eval", tree, "--effort", "fast", "--threads", 1)
    facts = edgekit("export", *words, "--output", tmp_path, "--json").facts
    assert facts["quantization"]["excluded_from_evaluation"] == 20
    assert len(set(facts["quantization"]["calibration_images"])) == facts["data"]["calibration"]["n"] == 20
    assert facts["fp32"]["n"] == facts["int8"]["n"] == facts["data"]["evaluation"]["n"] == 40


def test_the_calibration_method_is_told(tree: Path, tmp_path: Path) -> None:
    words = ("--calibration-method", "minmax", "--calibration-samples", 8, "--eval-samples", 8)
    facts = edgekit("export", *words, "--effort", "fast", "--threads", 1, "--output", tmp_path, "--json").facts
    assert facts["quantization"]["method"] == "minmax"
    assert (facts["latency"]["threads"], facts["target"]) == (1, "cpu")


def test_a_broken_image_among_many_is_skipped_and_counted(
    tmp_path: Path, write_tree: Callable[[ImageSet, Path], Path]
) -> None:
    folder = write_tree(sample().evaluation.spread(120), tmp_path / "tree")
    min(folder.glob("*/*.jpg")).write_bytes(b"this is no image")
    words = ("--quantize", "none", "--eval", folder, "--threads", 1, "--output", tmp_path / "out", "--json")
    outcome = edgekit("export", *words)
    assert outcome.code == 0, outcome.err
    assert outcome.facts["data"]["evaluation"] == {"path": str(folder), "n": 119, "broken": 1}
    assert outcome.facts["fp32"]["n"] == 119


def test_another_target_is_ek002(tmp_path: Path) -> None:
    line = refusal(edgekit("export", "--target", "jetson-mars", "--output", tmp_path / "out"))
    assert line.startswith(
        "EK002 --target: there is no target 'jetson-mars'; take one of cpu, cpu-avx2, jetson-agx-orin"
    )


def test_quantization_aware_training_is_the_last_rung(smaller: Path, tmp_path: Path) -> None:
    qat = ("--quantize", "qat", "--weight-bits", 4, "--qat-steps", 12, "--learned-scales")
    outcome = edgekit("export", smaller, *qat, *QUICK, "--output", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    facts = outcome.facts["quantization"]
    assert facts["mode"] == "qat"
    assert facts["rungs"][-1]["name"] == "qat"
    assert "trained through the rounding for 12 steps" in facts["rungs"][-1]["what"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--weight-bits", 1), "EK001 --weight-bits: weights of 1 bits; take 2 to 8"),
        (("--weight-bits", 9), "EK001 --weight-bits"),
        (("--quantize", "qat", "--qat-steps", 0), "EK001 --qat-steps"),
        (("--quantize", "qat", "--train", "absent"), "EK201 absent"),
    ],
)
def test_training_that_cannot_be_is_refused(options: tuple[object, ...], line: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert refusal(edgekit("export", *options, *QUICK, "--output", output)).startswith(line)
    assert not output.exists()


def test_other_classes_need_calibration_images_of_their_own_ek001(
    tmp_path: Path, fp32: Path, write_tree: Callable[[ImageSet, Path], Path]
) -> None:
    model = onnx.load(fp32)
    (classes,) = (entry for entry in model.metadata_props if entry.key == "edgekit.classes")
    classes.value = json.dumps([f"bird {number}" for number in range(10)])
    path = tmp_path / "birds.onnx"
    onnx.save(model, path)
    line = refusal(edgekit("export", path, "--output", tmp_path / "out"))
    assert line.startswith("EK001 --calibration: static quantization needs images to calibrate on")
    images = write_tree(sample().calibration.spread(12), tmp_path / "tree")
    assert refusal(edgekit("export", path, "--eval", images, "--quantize", "none")).startswith("EK207 ")


@pytest.mark.parametrize("name", ["", "model.fp32.onnx"])
def test_an_output_that_cannot_be_written_is_ek003_and_stays_as_it_was(tmp_path: Path, name: str) -> None:
    """A file where the folder should be, and a folder where a file should be."""
    output = tmp_path / "out"
    if name:
        (output / name).mkdir(parents=True)
    else:
        output.write_text("precious")
    line = refusal(edgekit("export", "--output", output))
    assert line.startswith(f"EK003 {output / name}")
    assert files(output) == [name] if name else output.read_text() == "precious"


def test_a_full_disk_is_ek003_and_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    words = ("--quantize", "none", "--eval-samples", 8, "--threads", 1, "--output", tmp_path / "out")
    outcome = python("-m", "edgekit", "export", *words, before=fill)
    line = refusal(outcome)
    assert line.startswith("EK003 ")
    assert "File too large" in line
    assert files(tmp_path) == []
