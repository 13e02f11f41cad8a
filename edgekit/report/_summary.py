"""A gate as Markdown, for `$GITHUB_STEP_SUMMARY` and for comments on a merge request."""

from __future__ import annotations

from typing import Final

from edgekit.report._gate_text import finding_text, limit_text, measured_text, title
from edgekit.report._text import printable
from edgekit.results import Diagnosis, GateResult

_SPECIAL: Final = frozenset(r"\`*_[]<>#|~&")


def summary_markdown(result: GateResult, *, diagnosis: Diagnosis | None = None) -> str:
    """Return the verdict, a table of the checks, the notes and, where there are any, the findings.

    Args:
        result: What the gate decided.
        diagnosis: Where the loss comes from.
    """
    lines = [
        f"## edgekit gate: {result.outcome}",
        "",
        f"{_escaped(result.candidate)} against {_escaped(result.baseline)}, on {_escaped(result.images)}",
        "",
        "| | check | measured | limit | why |",
        "|---|---|---|---|---|",
    ]
    for check in result.checks:
        outcome = check.outcome if check.outcome == "pass" else f"**{check.outcome}**"
        cells = (title(check), measured_text(check), limit_text(check), check.reason)
        lines.append(f"| {outcome} | {' | '.join(map(_escaped, cells))} |")
    for heading, texts in (
        ("Findings", [finding_text(finding) for finding in (diagnosis.findings if diagnosis else ())]),
        ("Notes", list(result.notes)),
    ):
        if texts:
            lines += ["", f"### {heading}", "", *(f"- {_escaped(text)}" for text in texts)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is: names of files and layers are not markup."""
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in printable(text))
