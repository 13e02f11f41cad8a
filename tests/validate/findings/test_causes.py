"""The table of causes: every one has a rule and a test, and every fix is an option that edgekit has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from edgekit.cli._main import COMMANDS, application
from edgekit.quantize.lint import RULES as LINT_RULES
from edgekit.results import Cause
from edgekit.validate.findings.causes import RULES

FIXES = sorted({rule.fix for rule in RULES})
OPTION = re.compile(r"--[a-z][a-z-]*")


def options_of(command: str) -> set[str]:
    found = get_command(application([*COMMANDS])).commands[command]  # type: ignore[attr-defined]
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_every_cause_has_a_rule_and_a_test() -> None:
    assert {rule.cause for rule in RULES} == set(get_args(Cause))
    tests = (Path(__file__).parent / "test_injected_faults.py").read_text(encoding="utf-8")
    assert [cause for cause in get_args(Cause) if f'"{cause}"' not in tests] == []


@pytest.mark.parametrize("fix", FIXES)
def test_a_fix_is_an_option_that_exists(fix: str) -> None:
    commands = re.findall(r"edgekit (export|inspect|validate)\b", fix)
    assert commands
    known = set().union(*(options_of(command) for command in commands))
    assert OPTION.findall(fix)
    assert set(OPTION.findall(fix)) <= known
    assert set(re.findall(r"EKL\d{3}", fix)) <= {rule.id for rule in LINT_RULES}
    assert not fix.endswith(".")


def test_the_page_of_findings_lists_every_cause_with_its_fix(repository: Path) -> None:
    page = (repository / "docs" / "findings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| (.+?) \|$", page, re.MULTILINE))
    assert rows.keys() == set(get_args(Cause))
    for rule in RULES:
        assert set(OPTION.findall(rule.fix)) <= set(OPTION.findall(rows[rule.cause])), rule.cause


def test_the_options_of_a_command_are_read_from_the_program() -> None:
    assert {"--calibration", "--no-mixed"} <= options_of("export")
    assert "--calibration" not in options_of("inspect")
