"""A gate as JUnit XML, in the form that Jenkins, GitLab and the reporters of GitHub Actions all read.

There is no one standard. What is written is valid in both schemas in wide use, that of Apache Ant's reports and that of
Jenkins: `properties`, `system-out` and `system-err` are always there, and a test case holds one element at most.
"""

from __future__ import annotations

import datetime as dt
from typing import Final
from xml.etree import ElementTree as ET

from edgekit.report._gate_text import check_text, finding_text, limit_text, measured_text
from edgekit.report._text import printable
from edgekit.results import Check, Diagnosis, GateResult

_SUITE: Final = "edgekit.gate"


def junit_xml(
    result: GateResult,
    *,
    time: dt.datetime,
    seconds: float,
    allow_inconclusive: bool = False,
    diagnosis: Diagnosis | None = None,
) -> bytes:
    """Return a gate as a suite of one test case a check.

    Args:
        result: What the gate decided.
        time: When, in UTC.
        seconds: How long it took. All checks share the measuring, so the time is that of the suite.
        allow_inconclusive: An inconclusive check is skipped; otherwise it is an error.
        diagnosis: Where the loss comes from, for the output of the suite.
    """
    outcomes = [_element_of(check, allow_inconclusive) for check in result.checks]
    suites = ET.Element("testsuites")
    suite = ET.SubElement(
        suites,
        "testsuite",
        name=_SUITE,
        package="edgekit",
        id="0",
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%S"),
        hostname="localhost",  # Of no use to a reader, and nobody else's business.
        tests=str(len(outcomes)),
        failures=str(outcomes.count("failure")),
        errors=str(outcomes.count("error")),
        skipped=str(outcomes.count("skipped")),
        time=f"{seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("baseline", result.baseline),
        ("candidate", result.candidate),
        ("images", result.images),
        ("outcome", result.outcome),
        *((check.name, f"{measured_text(check)}, {limit_text(check)}") for check in result.checks),
    ):
        ET.SubElement(properties, "property", name=name, value=printable(value))
    for check, outcome in zip(result.checks, outcomes, strict=True):
        case = ET.SubElement(suite, "testcase", name=check.name, classname=_SUITE, time="0")
        if outcome is not None:
            found = ET.SubElement(case, outcome, type=check.outcome, message=printable(check.reason))
            found.text = check_text(check)
    ET.SubElement(suite, "system-out").text = "\n".join(_output(result, diagnosis))
    ET.SubElement(suite, "system-err")
    ET.indent(suites)
    content: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _element_of(check: Check, allow_inconclusive: bool) -> str | None:
    """Return the element that says how a check came out; None for one that passed."""
    undecided = "skipped" if allow_inconclusive else "error"
    return {"pass": None, "fail": "failure", "inconclusive": undecided}[check.outcome]


def _output(result: GateResult, diagnosis: Diagnosis | None) -> list[str]:
    lines = [check_text(check) for check in result.checks]
    lines += [printable(f"note: {note}") for note in result.notes]
    return lines + [f"finding: {finding_text(finding)}" for finding in (diagnosis.findings if diagnosis else ())]
