"""What a gate writes for CI: JUnit XML, SARIF and Markdown, each held against its schema."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema
from schemas import SARIF, official_schema

from edgekit.report import gate_text, junit_xml, sarif, summary_markdown
from edgekit.results import Check, Diagnosis, Finding, GateResult

DROP = Check("max_drop", "fail", 1.0, "points", 3.2, 2.1, 4.4, "a drop of at most 1 point is ruled out")
AGREEMENT = Check("min_agreement", "inconclusive", 98.0, "percent", 98.4, 97.1, 99.1, "400 images leave it open")
SIZE = Check("max_size", "pass", 1e6, "bytes", 951000.0, 951000.0, 951000.0, "the baseline has 3,412,345 bytes")
RESULT = GateResult(
    "models/model.fp32.onnx",
    "models/model.int8.onnx",
    "fail",
    (DROP, AGREEMENT, SIZE),
    "400 images of val",
    ("a note",),
)
PASSED = dataclasses.replace(RESULT, outcome="pass", checks=(SIZE,), notes=())
HOSTILE = dataclasses.replace(
    RESULT, candidate="/a|b\x1b[31m/<script>`x`\ud800.onnx", images="]]>&\x00", notes=("| *a* & <b>",)
)
DIAGNOSIS = Diagnosis(
    0.4,
    64,
    (),
    (
        Finding(
            "per-tensor-weights", "features.1.conv", "its channels differ 40 times.", "Quantize per channel.", 61.0
        ),
        Finding("preprocessing-mismatch", "", "the means differ.", "Give --mean.", None),
    ),
)
NOON = dt.datetime(2026, 11, 25, 12, 0, 0, 500, tzinfo=dt.timezone.utc)


def junit(result: GateResult, **options: Any) -> bytes:
    return junit_xml(result, time=NOON, seconds=1.25, **options)


@pytest.fixture(scope="module")
def dialect() -> Any:
    return xmlschema.XMLSchema(str(Path(__file__).parent / "junit-dialect.xsd"))


@pytest.fixture(scope="module")
def sarif_validator() -> Any:
    return jsonschema.Draft7Validator(official_schema(SARIF))


@pytest.mark.parametrize("result", [RESULT, PASSED, HOSTILE], ids=["failed", "passed", "hostile"])
@pytest.mark.parametrize("options", [{}, {"allow_inconclusive": True}, {"diagnosis": DIAGNOSIS}], ids=str)
def test_junit_is_valid_in_the_dialect_of_all_readers(dialect: Any, result: GateResult, options: Any) -> None:
    dialect.validate(junit(result, **options).decode())


def test_the_dialect_refuses_what_one_of_the_readers_would(dialect: Any) -> None:
    whole = junit(RESULT).decode()
    for part in (' hostname="localhost"', ' time="1.250"', "<system-err />"):
        assert part in whole
        assert not dialect.is_valid(whole.replace(part, ""))


def test_junit_counts_a_failure_and_takes_what_is_open_for_an_error() -> None:
    suite = ET.fromstring(junit(RESULT))[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped", "time", "timestamp")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
        "time": "1.250",
        "timestamp": "2026-11-25T12:00:00",
    }
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases == {"max_drop": ["failure"], "min_agreement": ["error"], "max_size": []}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == DROP.reason
    assert failure.text == (
        "loss of top-1 accuracy 3.20 points [2.10, 4.40], at most 1 point allowed: "
        "a drop of at most 1 point is ruled out"
    )


def test_junit_skips_what_is_open_where_that_is_allowed() -> None:
    suite = ET.fromstring(junit(RESULT, allow_inconclusive=True))[0]
    assert (suite.get("errors"), suite.get("skipped")) == ("0", "1")
    assert suite.find("testcase[@name='min_agreement']/skipped") is not None


def test_junit_holds_the_findings_and_the_notes() -> None:
    text = ET.fromstring(junit(RESULT, diagnosis=DIAGNOSIS))[0].findtext("system-out") or ""
    assert "finding: per-tensor-weights at features.1.conv: its channels differ 40 times. Quantize per channel." in text
    assert "note: a note" in text


@pytest.mark.parametrize("diagnosis", [None, DIAGNOSIS], ids=["", "diagnosis"])
@pytest.mark.parametrize("result", [RESULT, PASSED, HOSTILE], ids=["failed", "passed", "hostile"])
def test_sarif_is_valid_in_the_official_schema(
    sarif_validator: Any, result: GateResult, diagnosis: Diagnosis | None
) -> None:
    sarif_validator.validate(sarif(result, version="0.1.0", diagnosis=diagnosis))


def test_the_official_schema_refuses_what_is_no_sarif(sarif_validator: Any) -> None:
    log = sarif(RESULT, version="0.1.0")
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not sarif_validator.is_valid(log)


def test_sarif_has_a_result_for_what_did_not_pass_and_a_rule_for_every_check() -> None:
    (run,) = sarif(RESULT, version="0.1.0", diagnosis=DIAGNOSIS)["runs"]
    assert [(found["ruleId"], found["level"]) for found in run["results"]] == [
        ("max_drop", "error"),
        ("min_agreement", "warning"),
        ("per-tensor-weights", "note"),
        ("preprocessing-mismatch", "note"),
    ]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert rules == {"max_drop", "min_agreement", "max_size", "per-tensor-weights", "preprocessing-mismatch"}
    place = run["results"][2]["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "models/model.int8.onnx"
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "features.1.conv"
    assert sarif(PASSED, version="0.1.0")["runs"][0]["results"] == []


def test_an_alert_keeps_its_fingerprint_while_its_numbers_change() -> None:
    def fingerprints(result: GateResult) -> list[Any]:
        return [found["partialFingerprints"] for found in sarif(result, version="0.1.0")["runs"][0]["results"]]

    worse = dataclasses.replace(RESULT, checks=(dataclasses.replace(DROP, measured=9.0), AGREEMENT))
    assert fingerprints(worse) == fingerprints(RESULT)
    assert len({str(found) for found in fingerprints(RESULT)}) == 2


def test_sarif_tells_no_path_outside_the_repository() -> None:
    outside = dataclasses.replace(RESULT, candidate="/home/somebody/a model.onnx")
    text = str(sarif(outside, version="0.1.0"))
    assert "somebody" not in text
    assert "a%20model.onnx" in text


def test_the_summary_is_a_table_with_the_verdict_first() -> None:
    lines = summary_markdown(RESULT, diagnosis=DIAGNOSIS).splitlines()
    assert lines[0] == "## edgekit gate: fail"
    table = [line for line in lines if line.startswith("| ")]
    assert table[0] == "| | check | measured | limit | why |"
    assert table[1].startswith(r"| **fail** | loss of top-1 accuracy | 3.20 points \[2.10, 4.40\] | at most 1 point |")
    assert table[3].startswith("| pass | size | 951,000 bytes | at most 1,000,000 bytes |")
    assert "### Findings" in lines
    assert lines[-1] == "- a note"


def test_names_of_files_are_not_markup() -> None:
    text = summary_markdown(HOSTILE)
    assert "\x1b" not in text
    assert "\x00" not in text
    assert r"/a\|b?\[31m/\<script\>\`x\`?.onnx" in text
    assert r"- \| \*a\* \& \<b\>" in text
    text.encode()


def test_the_text_of_a_log_has_a_line_a_check() -> None:
    lines = gate_text(RESULT).splitlines()
    assert lines[0] == "edgekit gate: FAIL (models/model.int8.onnx against models/model.fp32.onnx)"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["FAIL", "inconclusive", "pass", "note"]
