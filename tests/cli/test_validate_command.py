"""`edgekit validate`: any two models, and the exit code that a script relies on."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import jsonschema
import pytest
from command_line import edgekit, refusal

FEW = ("--eval-samples", 60, "--threads", 1)


def test_a_model_against_itself_passes_and_has_not_drifted(fp32: Path) -> None:
    outcome = edgekit("validate", fp32, fp32, *FEW, "--max-drop", 0, "--json")
    facts = outcome.facts
    assert (outcome.code, outcome.err) == (0, "")
    assert facts["verdict"]["passed"]
    assert facts["drift"]["agreement"]["value"] == 100
    assert facts["drift"]["top1_delta_pp"]["value"] == 0
    assert facts["baseline"] == facts["candidate"]
    assert facts["baseline"]["accuracy"]["n"] == 60
    assert facts["baseline"]["size_bytes"] == fp32.stat().st_size
    assert facts["detail"]["flips"] == []
    assert facts["detail"]["significance"]["p_value"] == 1
    assert facts["command"] == f"edgekit validate {fp32} {fp32} --eval-samples 60 --threads 1 --max-drop 0 --json"


def test_it_exits_1_when_the_drop_is_larger_than_allowed(fp32: Path, int8: Path) -> None:
    # A drop below minus one hundred points is none that a model can have.
    failed = edgekit("validate", fp32, int8, *FEW, "--max-drop", -101)
    assert (failed.code, failed.err) == (1, "")
    assert failed.out.startswith("FAIL: top-1 accuracy")
    passed = edgekit("validate", fp32, int8, *FEW, "--max-drop", 100)
    assert passed.code == 0
    assert passed.out.startswith("pass: top-1 accuracy")
    assert "model.fp32.onnx   model.int8.onnx" in passed.out
    assert "Non-inferiority: that the drop is below 100 points is shown" in passed.out
    assert "--need POINTS says how many" in passed.out


def test_a_checkpoint_can_be_compared_with_what_was_made_from_it(int8: Path, repository: Path) -> None:
    checkpoint = repository / "edgekit" / "assets" / "mobilenet_cifar10.safetensors"
    facts = edgekit("validate", checkpoint, int8, *FEW, "--json").facts
    assert facts["candidate"]["size_bytes"] == int8.stat().st_size
    assert facts["candidate"]["sha256"] == hashlib.sha256(int8.read_bytes()).hexdigest()
    assert facts["drift"]["agreement"]["value"] > 80
    assert facts["verdict"]["reason"].endswith("; no limit was given")


def test_shards_and_urls_are_evaluated_as_the_archive_that_they_are_of(
    fp32: Path, int8: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packed = repository / "calibration" / "cifar10_evaluation.zip"
    with zipfile.ZipFile(packed) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        for number in range(3):
            with tarfile.open(tmp_path / f"part-{number}.tar", "w") as shard:
                for name in names[number::3]:
                    member = tarfile.TarInfo(name)
                    member.size = archive.getinfo(name).file_size
                    shard.addfile(member, archive.open(name))
    locations = (packed, f"{tmp_path}/part-{{0..2}}.tar", f"file://{packed}")
    results = [edgekit("validate", fp32, int8, *FEW, "--eval", location, "--json").facts for location in locations]
    for found in results[1:]:
        assert found["drift"] == results[0]["drift"]
        assert found["baseline"]["accuracy"] == results[0]["baseline"]["accuracy"]
    refused = edgekit("validate", fp32, int8, *FEW, "--eval", f"{tmp_path}/part-{{0..3}}.tar")
    assert refusal(refused).startswith(f"EK201 {tmp_path}/part-3.tar: the shard does not exist; check the numbers")


def test_random_weights_are_compared_on_the_sample_without_its_labels() -> None:
    flags = ("mobilenet_v3_small", "mobilenet_v3_small", *FEW, "--eval-samples", 2)
    facts = edgekit("validate", *flags, "--json").facts
    assert facts["baseline"]["accuracy"]["top1"] is None
    assert facts["detail"]["significance"] is None
    assert facts["drift"]["agreement"]["value"] == 100


def test_the_images_can_be_named(fp32: Path, tree: Path) -> None:
    facts = edgekit("validate", fp32, fp32, "--eval", tree, "--threads", 1, "--json").facts
    assert facts["images"] == str(tree)
    assert facts["baseline"]["accuracy"]["n"] == 60


def test_a_comparison_can_be_written_without_timing_and_follows_its_schema(
    fp32: Path, int8: Path, tmp_path: Path, repository: Path
) -> None:
    outcome = edgekit(
        "validate", fp32, int8, *FEW, "--no-timing", "--need", 0.5, "--output", tmp_path / "out", "--json"
    )
    assert outcome.code == 0
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == outcome.facts
    schema = json.loads((repository / "docs" / "comparison.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(outcome.facts)
    assert (outcome.facts["latency"], outcome.facts["samples"], outcome.facts["noise"]) == (None, None, None)
    needed = outcome.facts["detail"]["significance"]["needed"]
    assert needed["drop_pp"] == 0.5
    assert needed["images"] > 1000


def test_labels_of_other_classes_are_ek605_in_one_line_and_nothing_is_written(
    fp32: Path, int8: Path, tree: Path, tmp_path: Path
) -> None:
    names = sorted(folder.name for folder in tree.iterdir())
    turned = tmp_path / "turned"
    for index, name in enumerate(names):
        shutil.copytree(tree / names[index - 1], turned / name)
    flags = ("--eval", turned, "--threads", 1, "--output", tmp_path / "out")
    line = refusal(edgekit("validate", fp32, int8, *flags))
    assert line.startswith("EK605 ")
    assert not list((tmp_path / "out").iterdir())


def test_models_of_different_tasks_cannot_be_compared(fp32: Path) -> None:
    line = refusal(edgekit("validate", fp32, "mobilenet_v3_small"))
    assert line.startswith("EK601 ")
    assert "the models differ in classes: 10 and 1000" in line


@pytest.mark.parametrize("drop", [0, -1, 101, "nan"])
def test_a_drop_that_no_number_of_images_shows_is_refused(fp32: Path, drop: object) -> None:
    assert refusal(edgekit("validate", fp32, fp32, *FEW, "--need", drop)).startswith("EK001 --need: ")


@pytest.mark.parametrize(("limit", "code"), [("nan", "EK001"), ("much", "EK001")])
def test_a_limit_that_is_no_number_is_refused(fp32: Path, limit: str, code: str) -> None:
    assert refusal(edgekit("validate", fp32, fp32, *FEW, "--max-drop", limit)).startswith(code)


def test_missing_images_are_ek201_and_a_missing_model_ek101(fp32: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert refusal(edgekit("validate", fp32, fp32, "--eval", absent)).startswith("EK201 ")
    assert refusal(edgekit("validate", fp32, f"{absent}.onnx")).startswith("EK101 ")
