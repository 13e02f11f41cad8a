"""`edgekit gate`: the exit code that CI relies on, and the files that it reads."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from command_line import edgekit, refusal
from gate_world import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """edgekit.toml and edgekit-baseline.json are looked for in the working folder."""
    monkeypatch.chdir(tmp_path)


def images(world: World, count: int = 1000) -> tuple[object, ...]:
    return ("--eval", world.images, "--eval-samples", count, "--threads", 1)


def test_pass_is_exit_code_0_and_three_files(world: World, tmp_path: Path) -> None:
    files = ("--junit", "out/gate.xml", "--sarif", "out/gate.sarif", "--summary", "out/summary.md")
    outcome = edgekit("gate", world.baseline, world.healthy, *images(world), *files)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith("pass: ")
    suite = ET.parse(tmp_path / "out/gate.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    assert float(suite.get("time") or 0) > 0
    assert json.loads((tmp_path / "out/gate.sarif").read_text())["runs"][0]["results"] == []
    assert (tmp_path / "out/summary.md").read_text().startswith("## edgekit gate: pass\n")


def test_fail_is_exit_code_1_and_the_files_are_there_all_the_same(world: World, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("of another step\n")
    outcome = edgekit(
        "gate", world.baseline, world.broken, *images(world, 200), "--junit", "gate.xml", "--summary", summary
    )
    assert (outcome.code, outcome.err) == (1, "")
    assert "FAIL" in outcome.out
    assert ET.parse("gate.xml").getroot()[0].get("failures") == "1"
    assert summary.read_text().startswith("of another step\n## edgekit gate: fail\n")


def test_too_few_images_are_exit_code_3_unless_that_is_allowed(world: World) -> None:
    few = ("gate", world.baseline, world.healthy, *images(world, 40), "--junit", "gate.xml")
    outcome = edgekit(*few)
    assert (outcome.code, outcome.err) == (3, "")
    assert "40 images leave it open" in outcome.out
    assert ET.parse("gate.xml").getroot()[0].get("errors") == "1"
    assert edgekit(*few, "--allow-inconclusive").code == 0
    assert ET.parse("gate.xml").getroot()[0].get("skipped") == "1"
    Path("edgekit.toml").write_text("[gate]\nallow_inconclusive = true\n")
    assert edgekit(*few).code == 0
    assert edgekit(*few, "--no-allow-inconclusive").code == 3
    assert edgekit(*few, "--these-images", "--max-drop", 5).code == 0


def test_json_holds_limits_checks_and_what_was_measured(world: World) -> None:
    Path("edgekit.toml").write_text('[gate]\nmax_drop = 50\nmax_size = "2x"\n')
    outcome = edgekit("gate", world.baseline, world.healthy, *images(world, 100), "--min-agreement", 50, "--json")
    facts = outcome.facts
    assert outcome.code == facts["exit_code"] == 0
    assert (facts["schema"], facts["outcome"]) == ("edgekit.gate/1", "pass")
    assert [check["name"] for check in facts["checks"]] == ["max_drop", "min_agreement", "max_size"]
    assert facts["limits"]["max_size"] == {"value": 2.0, "unit": "ratio"}
    assert facts["drift"]["n"] == 100
    assert facts["latency"] is None


def test_a_committed_baseline_stands_in_for_the_model(world: World) -> None:
    recorded = edgekit("gate", "--update", world.baseline, *images(world))
    assert (recorded.code, recorded.err) == (0, "")
    assert recorded.out.startswith(f"wrote edgekit-baseline.json: {world.baseline}, 1,000 images of ")
    assert edgekit("gate", world.healthy, *images(world)).code == 0
    assert edgekit("gate", world.broken, *images(world)).code == 1
    again = edgekit("gate", "--update", world.baseline, *images(world), "--json").facts
    assert again == {"path": "edgekit-baseline.json", **json.loads(Path("edgekit-baseline.json").read_text())}
    assert refusal(edgekit("gate", world.healthy, *images(world, 999))).startswith("EK633 ")


def test_bad_input_is_exit_code_2_and_no_verdict(world: World, tmp_path: Path) -> None:
    pair = (world.baseline, world.healthy)
    assert refusal(edgekit("gate", world.healthy, *images(world))).startswith("EK630 edgekit-baseline.json")
    assert refusal(edgekit("gate")).startswith("EK001 ")
    assert refusal(edgekit("gate", *pair, *pair)).startswith("EK001 [BASELINE] CANDIDATE: 4 models were given")
    assert refusal(edgekit("gate", *pair, "--max-size", "3MB")).startswith("EK001 --max-size")
    assert refusal(edgekit("gate", *pair, "--max-drop", "nan")).startswith("EK001 --max-drop")
    assert refusal(edgekit("gate", *pair, "--config", "absent.toml")).startswith("EK636 absent.toml")
    Path("edgekit.toml").write_text("[gate]\nmax_dorp = 1\n")
    assert refusal(edgekit("gate", *pair)).startswith("EK636 edgekit.toml:2: max_dorp: there is no such key in [gate]")
    assert [path.name for path in tmp_path.iterdir()] == ["edgekit.toml"]


def test_a_file_that_cannot_be_written_is_found_out_before_any_work(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refusal(edgekit("gate", world.baseline, "absent.onnx", "--junit", tmp_path / "file" / "gate.xml"))
    assert line.startswith("EK003 ")
