"""A pytest plugin: accuracy checks of models as tests, run where `--edgekit-gate` is given.

def test_int8_keeps_its_accuracy(assert_no_drift):
    assert_no_drift("model.fp32.onnx", "model.int8.onnx", "images/", max_drop=1)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from edgekit.results import GateResult

OPTION = "--edgekit-gate"
FIXTURE = "assert_no_drift"


class AssertNoDrift(Protocol):
    """The function that the fixture `assert_no_drift` gives."""

    def __call__(
        self,
        baseline: str | Path | None,
        candidate: str | Path,
        images: str | Path | None = None,
        *,
        samples: int | None = None,
        max_drop: float | None = None,
        min_agreement: float | None = None,
        max_size: int | str | None = None,
        min_speedup: float | None = None,
        max_p99_ratio: float | None = None,
        these_images: bool | None = None,
        allow_inconclusive: bool | None = None,
    ) -> GateResult:
        """Fail the test when the candidate got worse than the limits allow; see `edgekit gate --help`.

        Args:
            baseline: Checkpoint or `.onnx` file; None takes `edgekit-baseline.json` of the root folder of the tests.
            candidate: Checkpoint or `.onnx` file.
            images: Labelled images; None takes the sample that ships where its classes fit.
            samples: How many of them; None takes all.
            max_drop: As the flag of `edgekit gate`, and so the others. Those left out come from `[gate]` of
                `edgekit.toml` in the root folder of the tests.
            min_agreement: Likewise.
            max_size: Likewise: bytes, or a ratio as `"0.3x"`.
            min_speedup: Likewise.
            max_p99_ratio: Likewise.
            these_images: Likewise.
            allow_inconclusive: Too little evidence skips the test; otherwise it fails.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--edgekit-gate`."""
    parser.getgroup("edgekit").addoption(
        OPTION,
        action="store_true",
        help=f"run the tests that compare models with {FIXTURE}; otherwise they are skipped",
    )


@pytest.fixture
def assert_no_drift(request: pytest.FixtureRequest) -> AssertNoDrift:
    """Give a function that fails the test when a candidate got worse than its baseline."""
    if not request.config.getoption(OPTION):
        pytest.skip(f"compares models: runs with {OPTION}")
    root = request.config.rootpath

    def check(
        baseline: str | Path | None,
        candidate: str | Path,
        images: str | Path | None = None,
        *,
        samples: int | None = None,
        max_size: int | str | None = None,
        allow_inconclusive: bool | None = None,
        **flags: Any,
    ) -> GateResult:
        __tracebackhide__ = True
        from edgekit.errors import EdgekitError
        from edgekit.report import gate_text

        try:
            result, allowed = _gate(root, baseline, candidate, images, samples, max_size, flags)
        except EdgekitError as error:
            pytest.fail(f"edgekit: {error}", pytrace=False)
        text = gate_text(result)
        if result.outcome == "inconclusive" and (allowed if allow_inconclusive is None else allow_inconclusive):
            pytest.skip(text)
        if result.outcome != "pass":
            pytest.fail(text, pytrace=False)
        return result

    return check


def _gate(
    root: Path,
    baseline: str | Path | None,
    candidate: str | Path,
    images: str | Path | None,
    samples: int | None,
    max_size: int | str | None,
    flags: dict[str, Any],
) -> tuple[GateResult, bool]:
    """Return the verdict, and whether the project allows an inconclusive one."""
    from edgekit.pipeline.gate import BASELINE_FILE, GateRequest, gate_models
    from edgekit.pipeline.gate_limits import CONFIG_FILE, GateTable, merged, read_gate_table
    from edgekit.validate.gate import SizeLimit

    config = root / CONFIG_FILE
    table = read_gate_table(config) if config.is_file() else GateTable()
    size = None if max_size is None else SizeLimit.of(str(max_size), where="max_size")
    request = GateRequest(
        candidate=str(candidate),
        baseline=None if baseline is None else str(baseline),
        committed=root / BASELINE_FILE,
        limits=merged(table, {**flags, "max_size": size}),
        evaluation=images,
        evaluation_samples=samples,
    )
    return gate_models(request).result, table.allow_inconclusive
