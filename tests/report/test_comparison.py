"""A comparison as JSON with its schema, and what the terminal says of it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from comparison_examples import DETAIL, FULL, PLAIN, flips
from pydantic import TypeAdapter
from rich.console import Console

from edgekit.errors import UsageError
from edgekit.report import comparison_json, comparison_json_schema, render_validation, write_comparison
from edgekit.results import Comparison, NonInferiority, Significance, Verdict
from edgekit.spec import Interval

CASES = pytest.mark.parametrize("comparison", [FULL, PLAIN], ids=["everything", "no labels, no timing"])


def shown(comparison: Comparison, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    render_validation(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def detailed(**changes: Any) -> Comparison:
    return dataclasses.replace(FULL, detail=dataclasses.replace(DETAIL, **changes))


@CASES
def test_the_json_is_the_comparison_field_by_field(comparison: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    write_comparison(comparison, path)
    content = json.loads(path.read_text())
    assert content == comparison_json(comparison) == json.loads(json.dumps(dataclasses.asdict(comparison)))
    assert content["schema"] == "edgekit.comparison/1"
    assert TypeAdapter(Comparison).validate_json(path.read_text(), strict=True) == comparison


@CASES
def test_the_json_follows_its_schema(comparison: Comparison) -> None:
    schema = comparison_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(comparison_json(comparison))


def test_the_schema_takes_no_field_away_and_none_more() -> None:
    validator = jsonschema.Draft202012Validator(comparison_json_schema())
    content = comparison_json(FULL)
    content["drift"]["agreement"]["middle"] = 1.0
    assert not validator.is_valid(content)
    content = comparison_json(FULL)
    del content["detail"]["significance"]["needed"]
    assert not validator.is_valid(content)


def test_the_committed_schema_is_current_and_describes_what_the_types_describe(repository: Path) -> None:
    schema = comparison_json_schema()
    committed = json.loads((repository / "docs" / "comparison.schema.json").read_text())
    assert committed == schema, "docs/validate.md says how to write docs/comparison.schema.json again"
    for definition in [schema, *schema["$defs"].values()]:
        assert definition["description"]
        assert set(definition["properties"]) == set(definition["required"])
    for name in ("Comparison", "DriftDetail", "Significance", "Flip", "ClassChange"):
        fields = (schema if name == "Comparison" else schema["$defs"][name])["properties"]
        assert all(field["description"] for field in fields.values()), name
    worst = schema["$defs"]["Significance"]["properties"]["p_value"]["description"]
    assert worst == ("Of McNemar's exact test, two-sided: how likely so unequal a split is if both are equally good.")


def test_a_comparison_that_cannot_be_written_is_ek003(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="EK003"):
        write_comparison(FULL, tmp_path)


def test_the_verdict_comes_first() -> None:
    assert shown(FULL).startswith("pass: top-1 accuracy fell by 0.30 points")
    failed = dataclasses.replace(FULL, verdict=Verdict(False, "it fell"))
    assert shown(failed).startswith("FAIL: it fell\n")


def test_what_the_terminal_says_at_100_columns() -> None:
    lines = [line.rstrip() for line in shown(FULL).splitlines()]
    assert "\n".join(lines[lines.index("Images: val_images") :]) == SNAPSHOT.strip("\n")


SNAPSHOT = """
Images: val_images
Top-1: 7 images lost and 4 gained, no more than chance (McNemar's exact test, p = 0.549)
Top-1 change: -0.92 to +0.31 points by Tango's score interval, -0.90 to +0.30 by the paired
bootstrap
Sensitivity: 1,000 images show a drop of 0.97 points with 80 % power
Needed: 3,033 images show a drop of 0.5 points with 80 % power
Non-inferiority: that the drop is below 1 points is shown (p = 0.031)
KL: 0.5 nats at worst, on cat/0000.jpg
Classes: 1 of 2 changed by more than chance
class   images   baseline   candidate   change     corrected
────────────────────────────────────────────────────────────
cat     500      90.0 %     80.0 %      -10.0 pp   p < 0.001

Answers: 13 of 1,000 images are answered differently; those with the largest KL:
image          label   baseline   candidate   KL
───────────────────────────────────────────────────
cat/0000.jpg   cat     cat        dog         0.5
cat/0001.jpg   cat     cat        dog         0.25
cat/0002.jpg   cat     cat        dog         0.17
cat/0003.jpg   cat     cat        dog         0.12
cat/0004.jpg   cat     cat        dog         0.1
cat/0005.jpg   cat     cat        dog         0.083
cat/0006.jpg   cat     cat        dog         0.071
cat/0007.jpg   cat     cat        dog         0.062
cat/0008.jpg   cat     cat        dog         0.056
cat/0009.jpg   cat     cat        dog         0.05

and 3 more, which --json lists
Finding: bias-shift at stem: a b
note: 1 of 1,001 images could not be read and were left out
"""


def test_a_diagnosis_without_a_finding_says_so() -> None:
    assert FULL.diagnosis is not None
    nothing = dataclasses.replace(FULL, diagnosis=dataclasses.replace(FULL.diagnosis, findings=()))
    assert "Finding: none of the known causes explains the loss on 32 images" in shown(nothing)
    assert "Finding" not in shown(PLAIN)


def test_the_table_has_an_interval_of_top5_and_both_calibration_errors() -> None:
    text = shown(FULL)
    assert "-0.10 pp [-0.40, +0.20]" in text
    (line,) = (line.split() for line in text.splitlines() if line.startswith("calibration error"))
    assert line[2:] == ["3.09", "%", "2.75", "%", "-0.34", "pp"]


def test_without_labels_only_what_needs_none_is_said() -> None:
    text = shown(PLAIN)
    assert "the 1,000 evaluation images have no labels" in text
    assert "Answers: 1 of 1,000 images are answered differently:" in text
    assert "0000.jpg   -       3          1           0.5" in text
    for absent in ("Top-1:", "Sensitivity", "Non-inferiority", "Classes", "calibration", "more, which"):
        assert absent not in text


def test_few_flips_are_all_shown_and_none_is_said_in_words() -> None:
    assert "more, which" not in shown(detailed(flips=flips(10)))
    text = shown(detailed(flips=(), worst_kl=0.0))
    assert "Answers: the same on all 1,000 images" in text
    assert "at worst" not in text


def test_how_many_images_a_drop_takes_can_be_found_from_the_output() -> None:
    found = Significance(0, 0, 1.0, Interval(0, 0, 0), 0.79)
    text = shown(detailed(significance=found))
    assert "1,000 images show a drop of 0.79 points with 80 % power; --need POINTS says" in text
    none = dataclasses.replace(found, detectable_drop_pp=None)
    assert "Sensitivity: 1,000 images are too few to show any drop" in shown(detailed(significance=none))


def test_what_is_not_shown_is_said_so() -> None:
    assert "is not shown (p = 0.400)" in shown(detailed(non_inferiority=NonInferiority(1.0, 0.4, False)))
    certain = Significance(0, 30, 1e-9, Interval(-3, -4, -2), 1.0)
    assert "30 images lost and 0 gained, more than chance (McNemar's exact test, p < 0.001)" in shown(
        detailed(significance=certain)
    )


def test_names_of_images_and_classes_are_text_and_command_no_terminal() -> None:
    flip = dataclasses.replace(flips(1)[0], image="[red]\x1b[2Jcat.jpg")
    text = shown(detailed(flips=(flip,)))
    assert "\x1b" not in text
    assert "[red]" in text


def test_models_of_the_same_file_name_are_told_apart_by_their_folders() -> None:
    other = dataclasses.replace(FULL.candidate, name="b/model.onnx")
    same = dataclasses.replace(FULL, baseline=dataclasses.replace(FULL.baseline, name="a/model.onnx"), candidate=other)
    assert "a/model.onnx" in shown(same)
    assert "a/model.onnx" not in shown(dataclasses.replace(same, candidate=same.baseline))
    assert "out/" not in shown(FULL)


def test_it_fits_80_columns() -> None:
    assert max(map(len, shown(FULL, 80).splitlines())) <= 80
