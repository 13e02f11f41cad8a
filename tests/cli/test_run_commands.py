"""`edgekit init`, `run`, `cache`, `diff` and `reproduce` as commands: what they print and how they end."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import tomllib
from command_line import Outcome, edgekit, refusal

from edgekit.data import open_images
from edgekit.files import sha256_of
from edgekit.shipped import shipped_checkpoint

QUICK = """\
[run]
threads = 1
[data]
calibration_samples = 16
eval_samples = 40
[quantize]
effort = "fast"
[validate]
max_drop = 20.0
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A pipeline file that was run."""
    path = tmp_path_factory.mktemp("run") / "edgekit.toml"
    path.write_text(QUICK)
    outcome = edgekit("run", path)
    assert outcome.code == 0, outcome.err
    return path, outcome


@pytest.fixture
def again(done: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    shutil.copytree(done[0].parent, tmp_path / "again")
    return tmp_path / "again" / done[0].name


def test_init_writes_a_file_that_can_be_run_and_does_not_replace_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert edgekit("init").out == "wrote edgekit.toml; edgekit run edgekit.toml runs it\n"
    assert tomllib.loads(Path("edgekit.toml").read_text())["validate"]["max_drop"] == 1.0
    assert edgekit("run", "--check").out == "edgekit.toml: export → quantize → validate\n"
    Path("edgekit.toml").write_text("[export]\n")
    assert refusal(edgekit("init")) == "EK003 edgekit.toml: the file is there already; add --force to write over it"
    assert Path("edgekit.toml").read_text() == "[export]\n"
    assert edgekit("init", "--force", "--json").facts == {"pipeline": "edgekit.toml"}
    assert edgekit("init", "--schema").facts["$defs"]["ExportTable"]["additionalProperties"] is False


def test_a_run_prints_one_line_a_stage_and_its_verdict(done: tuple[Path, Outcome]) -> None:
    path, outcome = done
    lines = outcome.out.splitlines()
    assert " ".join(lines[0].split()) == ("stage result MACs parameters bytes top-1 % agreement % ms a frame speed-up")
    assert [line.split()[0] for line in lines[1:4]] == ["baseline", "quantize", "validate"]
    assert lines[2].rstrip().endswith("x")
    assert any(line.startswith("validate: pass: ") for line in lines)
    assert lines[-1] == f"wrote {path.parent}/edgekit-run/ and {path.with_suffix('.lock')}"
    assert outcome.err == ""


def test_a_run_as_json_says_the_same(again: Path) -> None:
    facts = edgekit("run", again, "--json").facts
    assert [(stage["stage"], stage["made"], stage["passed"]) for stage in facts["stages"]] == [
        ("baseline", False, True), ("quantize", False, True), ("validate", False, True),
    ]  # fmt: skip
    assert facts["lines"][1]["size_bytes"] < facts["lines"][0]["size_bytes"]
    assert facts["passed"] is True


def test_a_failed_check_ends_with_1(again: Path) -> None:
    outcome = edgekit("run", again, "--set", "quantize.weight_bits=2", "--set", "validate.max_drop=0")
    assert outcome.code == 1
    assert "validate: FAIL: " in outcome.out


def test_a_wrong_file_is_one_line_with_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[export]\n\nopsett = 17\n")
    line = refusal(edgekit("run", path))
    assert line == f"EK010 {path}:3: export.opsett: there is no such key; did you mean opset"
    facts = edgekit("run", path, "--check", "--json")
    assert facts.code == 2
    assert facts.facts["error"]["code"] == "EK010"


def test_variables_of_the_shell_are_read_and_flags_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "edgekit.toml"
    path.write_text("[export]\n")
    monkeypatch.setitem(os.environ, "EDGEKIT_QUANTIZE__ENABLED", "true")
    assert edgekit("run", path, "--check", "--json").facts["stages"] == ["export", "quantize"]
    flag = ("--set", "quantize.enabled=false")
    assert edgekit("run", path, "--check", "--json", *flag).facts["stages"] == ["export"]


def test_the_indexes_of_tar_shards_are_listed_and_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("edgekit.data._stored._SETTLED_NS", -1 << 62)
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    open_images(path)
    (listed,) = edgekit("cache", "ls", "--shards", "--json").facts
    assert listed["name"] == str(path)
    assert edgekit("cache", "ls", "--shards").out.splitlines()[-1].startswith("1 indexes, ")
    assert edgekit("cache", "gc", "--shards", "--json").facts["removed"] == []
    assert edgekit("cache", "gc", "--shards", "--all", "--dry-run").out.startswith("would remove 1 indexes, ")
    assert edgekit("cache", "gc", "--shards", "--all", "--json").facts["removed"] == [str(path)]
    assert edgekit("cache", "ls", "--shards", "--json").facts == []


def test_the_cache_is_listed_and_emptied(again: Path) -> None:
    folder = again.parent / ".edgekit"
    listed = edgekit("cache", "ls", "--cache", folder, "--json").facts
    kinds = sorted(entry["name"].split("-")[0] for entry in listed)
    assert kinds == ["export", "export", "measure", "measure", "validate"]
    assert edgekit("cache", "ls", "--cache", folder).out.splitlines()[-1].startswith("5 results, ")
    assert edgekit("cache", "gc", "--cache", folder, "--json").facts["removed"] == []
    victim = next(folder.glob("entries/validate-*"))
    (victim / "comparison.json").unlink()
    assert edgekit("cache", "gc", "--cache", folder, "--dry-run").out.startswith("would remove 1 results, ")
    assert edgekit("cache", "gc", "--cache", folder, "--json").facts["removed"] == [victim.name]
    assert edgekit("cache", "gc", "--cache", folder, "--all").out.startswith("removed 4 results, ")
    assert edgekit("cache", "ls", "--cache", folder, "--json").facts == []
    assert refusal(edgekit("cache", "rm")).startswith("EK001 the first word: 'rm' is not known; take one of ls, gc")
    assert refusal(edgekit("cache", "ls", "--cache", again.parent / "none")).startswith("EK011 ")


def test_reproduce_says_same_or_differs_and_ends_accordingly(again: Path) -> None:
    lock = again.with_suffix(".lock")
    content = json.loads(lock.read_text())
    assert content["sources"]["the model that ships"] == sha256_of(shipped_checkpoint())
    content["settings"].pop("quantize")
    content["settings"].pop("validate")
    content["settings"]["export"] = {}
    content["stages"] = content["stages"][:1]
    lock.write_text(json.dumps(content))
    outcome = edgekit("reproduce", lock)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [
        "same  baseline/model.fp32.onnx",
        "same  baseline/preprocessing.json",
        "all 2 files are the same, byte for byte",
    ]
    content["sources"]["the sample that ships"] = "0" * 64
    lock.write_text(json.dumps(content))
    outcome = edgekit("reproduce", lock, "--json")
    assert outcome.code == 1
    assert outcome.facts["same"] is False
    assert outcome.facts["sources"][0]["what"] == "the sample that ships"
    assert edgekit("reproduce", lock).out.splitlines()[-1].startswith("nothing was made: ")


def test_diff_prints_layers_of_models_and_settings_of_runs(again: Path) -> None:
    output = again.parent / "edgekit-run"
    outcome = edgekit("diff", output / "baseline" / "model.fp32.onnx", output / "quantize" / "model.int8.onnx")
    assert outcome.code == 0
    assert "input float32 → uint8 zero" in outcome.out
    same = edgekit("diff", shipped_checkpoint(), shipped_checkpoint())
    assert same.out.splitlines()[-1].startswith("0 of ")
    assert edgekit("diff", output, output).out == "the results are the same, byte for byte\n"
    assert edgekit("diff", output, output, "--json").facts["same"] is True
    assert refusal(edgekit("diff", output, shipped_checkpoint())).startswith("EK016 ")
