"""What a gate decided, in words and on the terminal."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from edgekit.report._text import plain, printable
from edgekit.results import Check, Diagnosis, Finding, GateResult

TITLES: Final = {
    "max_drop": "loss of top-1 accuracy",
    "min_agreement": "agreement",
    "max_size": "size",
    "min_speedup": "speed-up",
    "max_p99_ratio": "p99 of time, candidate over baseline",
}
WORDS: Final = {"pass": "pass", "fail": "FAIL", "inconclusive": "inconclusive"}


def title(check: Check) -> str:
    """Return what a check is about."""
    return TITLES.get(check.name, check.name)


def measured_text(check: Check) -> str:
    """Return the measurement and, in brackets, its interval where it has one."""
    value = _number(check.measured, check.unit)
    if check.low == check.high:
        return f"{value}{_unit(check.unit)}"
    return f"{value}{_unit(check.unit)} [{_number(check.low, check.unit)}, {_number(check.high, check.unit)}]"


def limit_text(check: Check) -> str:
    """Return the limit and on which side of it a candidate may be."""
    bound = "at least" if check.name.startswith("min_") else "at most"
    number = f"{check.limit:,.0f}" if check.unit == "bytes" else f"{check.limit:g}"
    unit = " point" if check.unit == "points" and check.limit == 1 else _unit(check.unit)
    return f"{bound} {number}{unit}"


def check_text(check: Check) -> str:
    """Return all that is known of a check in one line."""
    return printable(f"{title(check)} {measured_text(check)}, {limit_text(check)} allowed: {check.reason}")


def finding_text(finding: Finding) -> str:
    """Return a cause of the loss and what to do about it, in one line."""
    where = f" at {finding.layer}" if finding.layer else ""
    return printable(f"{finding.cause}{where}: {finding.evidence} {finding.fix}")


def gate_text(result: GateResult) -> str:
    """Return the verdict and each check, one a line, for a log or the message of a failed test."""
    head = printable(f"edgekit gate: {WORDS[result.outcome]} ({result.candidate} against {result.baseline})")
    lines = [f"  {WORDS[check.outcome]}: {check_text(check)}" for check in result.checks]
    return "\n".join([head, *lines, *(printable(f"  note: {note}") for note in result.notes)])


def render_gate(result: GateResult, console: Console, *, diagnosis: Diagnosis | None = None) -> None:
    """Print the checks as a table, why each came out as it did, and the verdict last."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("", "check", "measured", "limit"):
        table.add_column(column)
    for check in result.checks:
        row = (WORDS[check.outcome], title(check), measured_text(check), limit_text(check))
        table.add_row(*(plain(cell) for cell in row))
    console.print(table)
    console.print()
    lines = [f"{title(check)}: {check.reason}" for check in result.checks]
    lines += [f"on {result.images}", *(f"note: {note}" for note in result.notes)]
    lines += [f"finding: {finding_text(finding)}" for finding in (diagnosis.findings if diagnosis else ())]
    for line in [*lines, f"{WORDS[result.outcome]}: {result.candidate} against {result.baseline}"]:
        console.print(plain(line), soft_wrap=True)


def _number(value: float, unit: str) -> str:
    return f"{value:,.0f}" if unit == "bytes" else f"{value:.3g}" if unit == "ratio" else f"{value:.2f}"


def _unit(unit: str) -> str:
    return {"points": " points", "percent": " %", "bytes": " bytes", "ratio": "x"}[unit]
