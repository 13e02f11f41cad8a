"""The pytest plugin: accuracy checks of models in three lines."""

from __future__ import annotations

import importlib.metadata

import pytest
from gate_world import World, make_world

pytest_plugins = ["pytester"]

INSTALLED = any(entry.value == "edgekit.pytest_plugin" for entry in importlib.metadata.entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "edgekit.pytest_plugin")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def run(pytester: pytest.Pytester, call: str, *flags: str) -> pytest.RunResult:
    pytester.makepyfile(f"def test_it(assert_no_drift):\n    assert_no_drift({call})\n")
    return pytester.runpytest_inprocess(*PLUGIN, "-rs", *flags)


def call(world: World, candidate: str, more: str = "") -> str:
    return f"{str(world.baseline)!r}, {str(getattr(world, candidate))!r}, {str(world.images)!r}, {more}"


def test_it_runs_where_it_is_asked_for_and_is_skipped_elsewhere(pytester: pytest.Pytester, world: World) -> None:
    skipped = run(pytester, call(world, "healthy"))
    skipped.assert_outcomes(skipped=1)
    skipped.stdout.fnmatch_lines(["*compares models: runs with --edgekit-gate*"])
    run(pytester, call(world, "healthy"), "--edgekit-gate").assert_outcomes(passed=1)


def test_a_failure_says_what_was_measured_and_no_traceback(pytester: pytest.Pytester, world: World) -> None:
    failed = run(pytester, call(world, "broken", "samples=200, max_drop=2"), "--edgekit-gate")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["edgekit gate: FAIL (*", "  FAIL: loss of top-1 accuracy *at most 2 points allowed*"])
    failed.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_too_little_evidence_fails_unless_it_is_allowed(pytester: pytest.Pytester, world: World) -> None:
    run(pytester, call(world, "healthy", "samples=40"), "--edgekit-gate").assert_outcomes(failed=1)
    allowed = call(world, "healthy", "samples=40, allow_inconclusive=True")
    run(pytester, allowed, "--edgekit-gate").assert_outcomes(skipped=1)


def test_limits_of_the_project_hold_and_those_of_the_test_override_them(
    pytester: pytest.Pytester, world: World
) -> None:
    pytester.makefile(".toml", edgekit="[gate]\nmax_size = 10\n")
    failed = run(pytester, call(world, "healthy", "samples=100"), "--edgekit-gate")
    failed.stdout.fnmatch_lines(["*FAIL: size *at most 10 bytes allowed*"])
    run(pytester, call(world, "healthy", "samples=100, max_size='2x'"), "--edgekit-gate").assert_outcomes(passed=1)


def test_a_committed_baseline_serves_where_no_model_is_named(pytester: pytest.Pytester, world: World) -> None:
    from edgekit.pipeline.gate import GateRequest, update_baseline

    update_baseline(
        GateRequest(str(world.baseline), committed=pytester.path / "edgekit-baseline.json", evaluation=world.images)
    )
    line = f"None, {str(world.healthy)!r}, {str(world.images)!r}"
    run(pytester, line, "--edgekit-gate").assert_outcomes(passed=1)


def test_bad_input_is_one_line_with_its_code(pytester: pytest.Pytester, world: World) -> None:
    failed = run(pytester, f"None, {str(world.healthy)!r}, {str(world.images)!r}", "--edgekit-gate")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["edgekit: EK630 *"])


def test_an_unknown_limit_is_a_mistake_of_the_test(pytester: pytest.Pytester, world: World) -> None:
    failed = run(pytester, call(world, "healthy", "max_dorp=1"), "--edgekit-gate")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*TypeError*max_dorp*"])
