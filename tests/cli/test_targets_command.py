"""`edgekit targets`, and what a target makes of an export."""

from __future__ import annotations

from pathlib import Path

import onnx
from command_line import QUICK, edgekit

from edgekit.shipped import shipped
from edgekit.targets import names


def test_the_list_has_every_card_and_its_main_facts() -> None:
    outcome = edgekit("targets")
    assert (outcome.code, outcome.err) == (0, "")
    for name in names():
        assert any(line.startswith(f"{name} ") for line in outcome.out.splitlines())
    nano = next(line for line in outcome.out.splitlines() if line.startswith("jetson-nano"))
    assert nano.split()[:6] == ["jetson-nano", "5.3", "4", "25.6", "no", "yes"]


def test_one_target_shows_every_fact_with_confidence_and_source() -> None:
    out = edgekit("targets", "jetson-nano").out
    assert "compute_capability" in out
    assert "[1] github.com/dusty-nv/jetson-containers" in out
    assert "unverified" in out
    (card,) = edgekit("targets", "jetson-nano", "--json").facts
    assert card["facts"]["int8"]["value"] is False
    assert card["stacks"][-1]["release"]["newest_opset"] == 13


def test_plans_for_one_model_on_all_targets() -> None:
    outcome = edgekit("targets", "--plan", "mobilenet_v3_small")
    rows = {line.split()[0]: line.split() for line in outcome.out.splitlines() if line}
    assert rows["jetson-nano"][1:4] == ["8.2.1", "fp16", "13"]
    assert rows["jetson-agx-xavier"][1:] == ["8.5.2", "int8", "17", "fix_batch", "expand_hard_swish"]
    assert "jetson-nano: EKT101 " in outcome.out
    (plan,) = edgekit("targets", "jetson-agx-orin", "--plan", "mobilenet_v1", "--quantize", "none", "--json").facts
    assert (plan["target"], plan["precision"]) == ("jetson-agx-orin", "fp16")


def test_a_nano_export_gets_opset_13_and_says_why_it_is_not_int8(tmp_path: Path) -> None:
    words = ("export", "--target", "jetson-nano", "--output", tmp_path, *QUICK)
    outcome = edgekit(*words, "--strict")
    assert outcome.code == 1
    assert "EKT101: Jetson Nano 4 GB has no INT8 in TensorRT" in outcome.out
    assert edgekit(*words).code == 0
    model = onnx.load(tmp_path / "model.fp32.onnx")
    assert [entry.version for entry in model.opset_import] == [13]
    assert (tmp_path / "model.int8.onnx").exists()
    refused = edgekit("targets", "jetson-nano", "--plan", tmp_path / "model.int8.onnx")
    assert refused.code == 0
    assert "EK702" in refused.out


def test_an_orin_export_is_q_dq_that_its_plan_accepts(tmp_path: Path) -> None:
    outcome = edgekit("export", "--target", "jetson-orin-nano", "--output", tmp_path, *QUICK, "--strict", "--json")
    assert outcome.code == 0
    plan = outcome.facts["plan"]
    assert (plan["precision"], plan["tensorrt"], plan["changes"]) == ("int8", "10.3", [])
    assert outcome.facts["quantization"]["flavour"] == "tensorrt"
    (planned,) = edgekit("targets", "jetson-orin-nano", "--plan", tmp_path / "model.int8.onnx", "--json").facts
    assert planned["precision"] == "int8"
    assert edgekit("inspect", tmp_path / "model.int8.onnx", "--target", "jetson-orin-nano", "--strict").code == 0


def test_an_unknown_target_or_jetpack_is_one_line() -> None:
    assert "EK002 --target: there is no target 'jetson-mars'" in edgekit("targets", "jetson-mars").err
    outcome = edgekit("export", "--target", "jetson-nano", "--jetpack", "6.0")
    assert outcome.code == 2
    assert "EK001 --jetpack: jetson-nano has no '6.0' on its card; take one of: 4.6, 4.6.1 to 4.6.6" in outcome.err
    assert "EK001 --jetpack: cpu has no JetPack" in edgekit("export", "--jetpack", "6.0").err


def test_a_card_of_the_users_own_is_planned_by_itself_not_by_its_name(tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    original = (shipped("engines") / "jetson-nano.toml").read_text()
    card.write_text(original.replace("int8 = { value = false", "int8 = { value = true"))
    (plan,) = edgekit("targets", card, "--plan", "mobilenet_v1", "--json").facts
    assert (plan["target"], plan["precision"]) == ("jetson-nano", "int8")
