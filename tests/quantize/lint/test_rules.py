"""Each lint rule finds its fault, leaves a clean graph alone, and its fix keeps what the model computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from lint_models import CASES, CLEAN, CLEAN_TENSORRT, EXACT, Case, images_of, reference
from small_nets import mobilenet, run, sqnr

from edgekit.errors import UsageError
from edgekit.quantize.lint import RULES, TARGETS, Finding, Severity, fix, lint, mend

IDS = [f"{rule}-{index}" for index, (rule, _) in enumerate(CASES)]
FIXABLE = [(rule, case) for rule, case in CASES if case.sqnr is not None]
FIXABLE_IDS = [f"{rule}-{index}" for index, (rule, _) in enumerate(FIXABLE)]
ROW = re.compile(r"^\| (EKL\d{3}) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def of_rule(model: onnx.ModelProto, target: str, rule: str) -> list[Finding]:
    return [finding for finding in lint(model, target) if finding.rule == rule]


def test_every_rule_has_a_case() -> None:
    assert {rule.id for rule in RULES} == {rule for rule, _ in CASES}


@pytest.mark.parametrize(("rule", "case"), CASES, ids=IDS)
def test_the_fault_is_found_with_reason_and_advice(rule: str, case: Case) -> None:
    onnx.checker.check_model(case.faulty, full_check=True)
    found = of_rule(case.faulty, case.target, rule)
    assert found
    names = {node.name or node.output[0] for node in case.faulty.graph.node}
    for finding in found:
        assert finding.node in names
        assert finding.what
        assert finding.why
        assert finding.fix
        assert finding.fixable is (case.sqnr is not None)


@pytest.mark.parametrize(("rule", "case"), CASES, ids=IDS)
def test_a_graph_without_the_fault_is_left_alone(rule: str, case: Case) -> None:
    onnx.checker.check_model(case.clean, full_check=True)
    assert of_rule(case.clean, case.target, rule) == []


@pytest.mark.parametrize(("rule", "case"), CASES, ids=IDS)
def test_a_fault_is_none_on_other_targets(rule: str, case: Case) -> None:
    targets = next(candidate.targets for candidate in RULES if candidate.id == rule)
    for target in set(TARGETS) - targets:
        assert of_rule(case.faulty, target, rule) == []


@pytest.mark.parametrize(("rule", "case"), FIXABLE, ids=FIXABLE_IDS)
def test_the_fix_removes_the_fault_and_keeps_what_the_model_computes(rule: str, case: Case) -> None:
    before = case.faulty.SerializeToString()
    mended, notes = fix(case.faulty, of_rule(case.faulty, case.target, rule))
    assert case.faulty.SerializeToString() == before
    onnx.checker.check_model(mended, full_check=True)
    assert of_rule(mended, case.target, rule) == []
    assert [note.source for note in notes] == [rule]
    batch = images_of(case.faulty)
    expected, actual = reference(case.faulty, batch), reference(mended, batch)
    assert np.abs(expected).max() > 0
    if case.sqnr == EXACT:
        np.testing.assert_array_equal(actual, expected)
    else:
        assert case.sqnr is not None
        assert sqnr(expected, actual) > case.sqnr


@pytest.mark.parametrize(("rule", "case"), FIXABLE, ids=FIXABLE_IDS)
def test_mending_everything_leaves_nothing_fixable_and_a_model_that_runs(rule: str, case: Case) -> None:
    mended, _ = mend(case.faulty, case.target)
    assert not [finding for finding in lint(mended, case.target) if finding.fixable]
    assert np.isfinite(run(mended, images_of(mended))).all()


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_wrong_with_a_clean_graph_or_a_float_model(target: str) -> None:
    clean = CLEAN_TENSORRT if target == "tensorrt" else CLEAN
    assert lint(clean, target) == ()
    assert lint(mobilenet(), target) == ()
    assert mend(clean, target) == (clean, ())


def test_findings_without_a_fix_are_passed_over() -> None:
    case = dict(CASES)["EKL102"]
    mended, notes = fix(case.faulty, lint(case.faulty, case.target))
    assert notes == ()
    np.testing.assert_array_equal(reference(mended, images_of(mended)), reference(case.faulty, images_of(case.faulty)))


def test_the_severity_follows_the_target() -> None:
    case = dict(CASES)["EKL211"]
    assert {finding.severity for finding in of_rule(case.faulty, "cpu", "EKL211")} == {Severity.INFO}
    assert {finding.severity for finding in of_rule(case.faulty, "cpu-avx2", "EKL211")} == {Severity.WARNING}
    assert not any(finding.fixable for finding in of_rule(case.faulty, "cpu", "EKL211"))


def test_a_target_that_is_not_known_is_ek002() -> None:
    with pytest.raises(UsageError, match="EK002 --target: 'gpu' is not a target of lint; take one of cpu"):
        lint(CLEAN, "gpu")


def test_ids_are_unique_and_ascend() -> None:
    ids = [rule.id for rule in RULES]
    assert ids == sorted(set(ids))


def test_a_rule_says_what_its_fix_changes() -> None:
    assert all(bool(rule.changes) == (rule.fix is not None) for rule in RULES)


def test_every_rule_is_documented_as_it_is(repository: Path) -> None:
    rows = ROW.findall((repository / "docs" / "lint.md").read_text(encoding="utf-8"))
    expected = [
        (
            rule.id,
            rule.title,
            f"{rule.severity.value}, {', '.join(target for target in TARGETS if target in rule.targets)}",
            rule.why,
            rule.advice,
            rule.changes or "no fix",
        )
        for rule in RULES
    ]
    assert rows == expected
