"""A gate as SARIF 2.1.0, which GitHub's code scanning shows as alerts on the model's file."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from edgekit.report._gate_text import TITLES, check_text, finding_text
from edgekit.report._text import printable
from edgekit.results import Check, Diagnosis, Finding, GateResult

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: Final = {"fail": "error", "inconclusive": "warning"}


def sarif(result: GateResult, *, version: str, diagnosis: Diagnosis | None = None) -> dict[str, Any]:
    """Return a gate as a SARIF log: a result for each check that did not pass, and for each finding.

    Checks that passed are not among the results: GitHub shows every result as an alert, of whatever kind.

    Args:
        result: What the gate decided.
        version: Version of edgekit.
        diagnosis: Where the loss comes from.
    """
    findings = diagnosis.findings if diagnosis is not None else ()
    artifact = _artifact(result.candidate)
    results = [_of_check(check, artifact) for check in result.checks if check.outcome in _LEVELS]
    results += [_of_finding(finding, artifact) for finding in findings]
    rules = [_rule(check.name, TITLES.get(check.name, check.name)) for check in result.checks]
    rules += [_rule(cause, "cause of a loss of accuracy") for cause in dict.fromkeys(f.cause for f in findings)]
    driver = {"name": "edgekit", "version": version, "semanticVersion": version, "rules": rules}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [{"executionSuccessful": True}],
                "columnKind": "unicodeCodePoints",
                "results": results,
                "properties": {
                    "outcome": result.outcome,
                    "baseline": printable(result.baseline),
                    "images": printable(result.images),
                },
            }
        ],
    }


def _rule(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "shortDescription": {"text": text}}


def _of_check(check: Check, artifact: str) -> dict[str, Any]:
    facts = {"measured": check.measured, "low": check.low, "high": check.high, "limit": check.limit, "unit": check.unit}
    return {**_result(check.name, _LEVELS[check.outcome], check_text(check), artifact, ""), "properties": facts}


def _of_finding(finding: Finding, artifact: str) -> dict[str, Any]:
    return _result(finding.cause, "note", finding_text(finding), artifact, printable(finding.layer))


def _result(rule: str, level: str, text: str, artifact: str, layer: str) -> dict[str, Any]:
    location: dict[str, Any] = {
        # A model has no lines; GitHub shows no alert without one.
        "physicalLocation": {"artifactLocation": {"uri": artifact}, "region": {"startLine": 1}}
    }
    if layer:
        location["logicalLocations"] = [{"fullyQualifiedName": layer, "kind": "element"}]
    # The same alert in every run, so that GitHub follows it; the numbers in its text change.
    fingerprint = hashlib.sha256(f"{rule}\n{artifact}\n{layer}".encode()).hexdigest()
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"edgekitGate/v1": fingerprint},
    }


def _artifact(name: str) -> str:
    """Return a path within the repository as a relative URI; of another path, the name of the file alone."""
    path = PurePath(printable(name))
    outside = path.is_absolute() or ".." in path.parts
    return quote(path.name if outside else path.as_posix())
