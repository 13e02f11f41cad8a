"""The commands that look and tell: models, profile, inspect, doctor."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from command_line import edgekit, python, refusal

PUBLISHED = {
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "mobilenet_v3_small": (2_542_856, 56_510_400),
}


def test_models_have_the_published_parameters_and_macs() -> None:
    rows = edgekit("models", "--json").facts
    assert {row["name"]: (row["parameters"], row["macs"]) for row in rows} == PUBLISHED
    assert all({"widths", "input_sizes", "title", "source"} <= row.keys() for row in rows)


def test_models_shows_the_same_as_a_table() -> None:
    outcome = edgekit("models")
    assert (outcome.code, outcome.err) == (0, "")
    for name, (parameters, macs) in PUBLISHED.items():
        line = next(line for line in outcome.out.splitlines() if line.startswith(f"{name} "))
        assert f"{parameters:,}" in line
        assert f"{macs / 1e6:.1f} M" in line


def test_profile_totals_are_the_sums_of_its_layers() -> None:
    facts = edgekit("profile", "mobilenet_v1", "--json").facts
    for field in ("parameters", "macs", "standard_macs", "activation_bytes"):
        assert facts["total"][field] == sum(layer[field] for layer in facts["layers"])
    assert (facts["total"]["parameters"], facts["total"]["macs"]) == PUBLISHED["mobilenet_v1"]
    assert facts["model"]["architecture"] == "mobilenet_v1"
    assert facts["activations"] is None


def test_profile_shows_what_depthwise_separable_convolutions_save() -> None:
    out = edgekit("profile", "mobilenet_v1").out
    assert "total: 4,231,976 parameters, 568.7 M MACs" in out
    # The paper's "Conv MobileNet" has 4866 M; it does not count the classifier.
    assert "with standard instead of depthwise-separable convolutions: 4,867.3 M MACs, 8.6 times as many" in out


def test_profile_takes_the_model_that_ships_by_default_and_flags_describe_another() -> None:
    shipped = edgekit("profile", "--json").facts
    assert (shipped["model"]["num_classes"], shipped["model"]["input_size"]) == (10, 128)
    assert shipped["total"]["parameters"] < 1_000_000
    flags = ("--width", 0.5, "--num-classes", 7, "--input-size", 96, "--bn-eps", 0.002)
    described = edgekit("profile", "mobilenet_v3_small", *flags, "--json").facts
    model = described["model"]
    assert (model["width"], model["num_classes"], model["input_size"], model["bn_eps"]) == (0.5, 7, 96, 0.002)
    assert described["layers"][-1]["output_shape"] == [7]


def test_profile_with_images_tells_what_each_layer_puts_out(tree: Path) -> None:
    outcome = edgekit("profile", "--activations", tree, "--samples", 6, "--json")
    assert outcome.err == ""
    layers = {layer["name"]: layer for layer in outcome.facts["activations"]}
    rectified = layers["features.0.2"]
    assert (rectified["minimum"], rectified["count"]) == (0.0, 6 * 16 * 64 * 64)
    assert 0 < rectified["zero_share"] < 1
    assert rectified["maximum"] <= 6
    assert rectified["mean"] > 0
    table = edgekit("profile", "--activations", tree, "--samples", 6).out
    assert f"{100 * rectified['zero_share']:.1f} %" in table


def test_inspect_says_what_runs_in_what_and_why(int8: Path, fp32: Path) -> None:
    facts = edgekit("inspect", int8, "--json").facts
    assert facts["opset"] == 17
    assert facts["float_compute"] == []
    assert {layer["precision"] for layer in facts["layers"] if layer["op_type"] == "Conv"} == {"int8"}
    assert "edgekit.preprocessing" in facts["metadata"]
    before = edgekit("inspect", fp32, "--json").facts
    assert {layer["precision"] for layer in before["layers"]} == {"float32"}


def test_inspect_shows_a_strangers_text_as_text(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    model.metadata_props.add(key="[/red]", value="a\x1b[2Jb\nc :smile: [bold]")
    path = tmp_path / "[red]x[bold].onnx"
    onnx.save(model, path)
    outcome = edgekit("inspect", path)
    assert outcome.code == 0
    assert "[/red]: a?[2Jb?c :smile: [bold]" in outcome.out
    assert "[red]x[bold].onnx: opset 17" in outcome.out.replace("\n", "")


def test_doctor_finds_what_the_main_job_needs() -> None:
    facts = edgekit("doctor", "--json").facts
    found = {finding["name"]: finding for finding in facts["findings"]}
    assert facts["healthy"]
    required = {name for name, finding in found.items() if finding["required"]}
    assert {"Python", "torch", "onnx", "onnxruntime", "numpy", "sample", "model"} <= required
    assert all(found[name]["ok"] for name in required)
    assert found["torch"]["detail"]
    assert not found["tensorrt"]["required"]
    assert all(finding["advice"] for finding in found.values() if not finding["ok"])
    assert "everything that edgekit needs is there" in edgekit("doctor").out


def test_doctor_works_where_a_package_is_missing_and_exits_1() -> None:
    program = """
import importlib.metadata, sys
sys.modules["torch"] = None
version = importlib.metadata.version
def without_torch(name):
    if name == "torch":
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = without_torch
from edgekit.cli._main import run
sys.exit(run(["doctor"]))
"""
    outcome = python("-c", program)
    assert (outcome.code, outcome.err) == (1, "")
    assert "MISSING  torch" in outcome.out
    assert "pip install torch" in outcome.out
    assert "edgekit cannot do its job here" in outcome.out


@pytest.mark.parametrize("command", ["inspect", "profile"])
def test_a_file_that_does_not_exist_is_ek101(command: str, tmp_path: Path) -> None:
    suffix = {"inspect": "onnx", "profile": "safetensors"}[command]
    assert refusal(edgekit(command, tmp_path / f"absent.{suffix}")).startswith("EK101 ")
