"""`edgekit inspect`: precision and drift layer by layer, lint and its fixes, on files of any tool."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import edgekit, refusal
from onnx import numpy_helper

from edgekit import inspect_model
from edgekit.spec import Precision

NNCF_FILE = Path(__file__).resolve().parents[1] / "quantize" / "lint" / "nncf_mobilenet.onnx"


@pytest.fixture(scope="module")
def faulty(int8: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 file with the bias of its first layer in steps that are four times too wide for its kernel."""
    model = onnx.load(int8)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("bias_scale"))
    wider = numpy_helper.to_array(tensor) * np.float32(4)
    tensor.CopyFrom(numpy_helper.from_array(wider, tensor.name))
    path = tmp_path_factory.mktemp("faulty") / "model.onnx"
    onnx.save(model, path)
    return path


def test_every_layer_has_its_operator_precision_and_sqnr(int8: Path, fp32: Path) -> None:
    facts = edgekit("inspect", int8, "--json").facts
    assert facts["baseline"] == str(fp32)
    assert facts["images"] == "16 images of the CIFAR-10 sample that ships with edgekit"
    assert len(facts["layers"]) == 29
    for layer in facts["layers"]:
        assert layer["precision"] == "int8"
        assert layer["runs_as"].startswith("Q")
        assert 5 < layer["sqnr_db"] < 80


def test_the_table_names_each_layer_and_what_it_was_compared_with(int8: Path, fp32: Path) -> None:
    lines = edgekit("inspect", int8).out.splitlines()
    assert lines[0].endswith("model.int8.onnx: opset 17, 29 of 29 nodes compute in int8")
    row = next(line for line in lines if line.startswith("features.1.0/Conv "))
    assert row.split()[1:4] == ["Conv", "QLinearConv", "int8"]
    assert row.rstrip().endswith(" dB")
    assert "on 16 images of the CIFAR-10 sample that ships with edgekit" in " ".join(lines)
    assert "convolutions and linear layers that onnxruntime runs in float: none" in lines


def test_the_sqnr_of_the_last_layer_is_that_of_the_logits(int8: Path, fp32: Path) -> None:
    facts = edgekit("inspect", int8, "--json").facts
    compared = edgekit("validate", fp32, int8, "--eval-samples", 16, "--threads", 1, "--json").facts
    # The one pools the energies of all images, the other takes the mean over images of the ratio.
    assert facts["layers"][-1]["sqnr_db"] == pytest.approx(compared["drift"]["sqnr_db"]["value"], abs=3)


def test_without_a_baseline_there_is_no_sqnr(int8: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(int8.read_bytes())
    facts = edgekit("inspect", alone, "--json").facts
    assert facts["baseline"] is facts["images"] is None
    assert {layer["sqnr_db"] for layer in facts["layers"]} == {None}
    assert "SQNR" not in edgekit("inspect", alone).out


def test_a_baseline_and_images_can_be_given(int8: Path, fp32: Path, tree: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(int8.read_bytes())
    facts = edgekit("inspect", alone, "--baseline", fp32, "--images", tree, "--json").facts
    assert facts["images"] == f"16 images of {tree}"
    assert all(layer["sqnr_db"] is not None for layer in facts["layers"])


def test_an_equal_model_has_the_sqnr_of_the_limit(fp32: Path) -> None:
    facts = edgekit("inspect", fp32, "--baseline", fp32, "--json").facts
    assert {layer["sqnr_db"] for layer in facts["layers"]} == {150.0}


def test_a_file_by_nncf_shows_what_onnxruntime_cannot_run_in_int8(tmp_path: Path) -> None:
    facts = edgekit("inspect", NNCF_FILE, "--json").facts
    assert len(facts["float_compute"]) == 7
    reasons = {layer["reason"] for layer in facts["layers"] if layer["precision"] == "float32"}
    assert "onnxruntime has no int8 kernel for its Q/DQ as they are" in reasons
    fixed = tmp_path / "fixed.onnx"
    facts = edgekit("inspect", NNCF_FILE, "--fix", fixed, "--json").facts
    assert [change["source"] for change in facts["fixed"]["changes"]][:3] == ["EKL109", "EKL203", "EKL204"]
    assert edgekit("inspect", fixed, "--json").facts["float_compute"] == []


def test_findings_are_grouped_by_rule_with_reason_and_fix(faulty: Path) -> None:
    out = edgekit("inspect", faulty).out
    assert "EKL208 error, once, --fix mends 1:" in out
    rest = out[out.index("EKL208") :]
    assert rest.index("  why: ") < rest.index("  fix: ")
    assert out.splitlines()[-1].startswith("lint for cpu: 1 error")
    (finding,) = [f for f in edgekit("inspect", faulty, "--json").facts["findings"] if f["rule"] == "EKL208"]
    assert (finding["severity"], finding["node"], finding["fixable"]) == ("error", "features.0.0/Conv", True)


def test_strict_exits_1_on_errors_and_warnings_and_0_on_mere_infos(faulty: Path, int8: Path) -> None:
    assert edgekit("inspect", faulty).code == 0
    assert edgekit("inspect", faulty, "--strict").code == 1
    assert edgekit("inspect", faulty, "--strict", "--json").facts["findings"]
    assert edgekit("inspect", int8, "--strict").code == 0


def test_fix_writes_a_model_that_runs_as_the_file_says(faulty: Path, fp32: Path, tmp_path: Path) -> None:
    fixed = tmp_path / "deeper" / "fixed.onnx"
    outcome = edgekit("inspect", faulty, "--fix", fixed, "--strict")
    assert (outcome.code, outcome.err) == (0, "")
    assert "mended EKL208: " in outcome.out
    assert f"wrote {fixed}, with these changes" in outcome.out.replace("\n", "")
    assert "after the fix: " in outcome.out.splitlines()[-1]
    assert not [f for f in edgekit("inspect", fixed, "--json").facts["findings"] if f["rule"] == "EKL208"]
    onnx.checker.check_model(onnx.load(fixed), full_check=True)
    kept = {entry.key: entry.value for entry in onnx.load(fixed).metadata_props}
    assert kept == {entry.key: entry.value for entry in onnx.load(faulty).metadata_props}


def test_fix_says_when_there_is_nothing_to_mend(int8: Path, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed.onnx"
    outcome = edgekit("inspect", int8, "--fix", fixed)
    assert "unchanged: there was nothing that --fix mends" in outcome.out.replace("\n", " ").replace("  ", " ")
    assert onnx.load(fixed).graph == onnx.load(int8).graph


def test_fix_that_cannot_be_written_is_ek003_and_leaves_nothing(faulty: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert refusal(edgekit("inspect", faulty, "--fix", tmp_path / "file" / "fixed.onnx")).startswith("EK003 ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_for_a_cpu_is_refused_for_tensorrt_until_it_is_mended(int8: Path, tmp_path: Path) -> None:
    fixed = tmp_path / "tensorrt.onnx"
    outcome = edgekit("inspect", int8, "--target", "tensorrt", "--strict", "--json")
    assert outcome.code == 1
    assert {"EKL205", "EKL209"} <= {finding["rule"] for finding in outcome.facts["findings"]}
    assert edgekit("inspect", int8, "--target", "tensorrt", "--fix", fixed, "--strict").code == 0
    assert edgekit("inspect", fixed, "--target", "tensorrt", "--strict").code == 0


def test_a_float_file_has_nothing_wrong_with_it(fp32: Path) -> None:
    outcome = edgekit("inspect", fp32, "--strict")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "lint for cpu: nothing"


def test_a_target_that_is_not_known_is_ek002(int8: Path) -> None:
    assert refusal(edgekit("inspect", int8, "--target", "gpu")).startswith("EK002 --target: 'gpu'")


def test_a_baseline_of_another_task_is_ek601(int8: Path, tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        three (float[n,3,32,32] x) => (float[n,3] y) { p = GlobalAveragePool (x) y = Flatten (p) }"""
    other = tmp_path / "three.onnx"
    onnx.save(onnx.parser.parse_model(text), other)
    line = refusal(edgekit("inspect", int8, "--baseline", other))
    assert line.startswith("EK601 ")
    assert "3 and 10 classes" in line


def test_a_stranger_beside_the_file_is_no_reason_to_fail(int8: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(int8.read_bytes())
    (tmp_path / "model.fp32.onnx").write_bytes(b"\x08something else")
    facts = edgekit("inspect", tmp_path / "model.onnx", "--json").facts
    assert facts["baseline"] is None
    assert [note for note in facts["notes"] if note.startswith("layers were not compared with ")]


def test_the_same_from_python(int8: Path) -> None:
    inspection = inspect_model(int8, target="cpu-avx2")
    assert {layer.precision for layer in inspection.layers} == {Precision.INT8}
    facts = json.loads(edgekit("inspect", int8, "--target", "cpu-avx2", "--json").out)
    assert [finding.rule for finding in inspection.findings] == [finding["rule"] for finding in facts["findings"]]
