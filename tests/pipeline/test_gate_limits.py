"""The `[gate]` table of edgekit.toml: what it says, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import ComparisonError
from edgekit.pipeline.gate_limits import GateTable, merged, read_gate_table
from edgekit.validate.gate import DEFAULT_LIMITS, Limits, SizeLimit

Write = Callable[[str], Path]
WHOLE = """
[gate]
max_drop = 2
min_agreement = 97.5
max_size = "0.3x"
min_speedup = 1.5
max_p99_ratio = 1.1
these_images = true
allow_inconclusive = true

[another]
max_drop = "of another tool"
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "edgekit.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_the_table_holds_every_limit(write: Write) -> None:
    table = read_gate_table(write(WHOLE))
    assert table.allow_inconclusive
    assert table.limits() == Limits(2.0, 97.5, SizeLimit(0.3, "ratio"), 1.5, 1.1, these_images=True)


def test_a_size_without_x_is_bytes(write: Write) -> None:
    assert read_gate_table(write("[gate]\nmax_size = 1500000")).limits().max_size == SizeLimit(1.5e6, "bytes")


def test_flags_override_the_table_one_by_one(write: Write) -> None:
    limits = merged(read_gate_table(write(WHOLE)), {"max_drop": 0.0, "min_agreement": None, "these_images": False})
    assert limits == Limits(0.0, 97.5, SizeLimit(0.3, "ratio"), 1.5, 1.1, these_images=False)


def test_without_any_limit_it_is_one_point(write: Write) -> None:
    assert merged(GateTable(), {"max_drop": None}) == DEFAULT_LIMITS == Limits(max_drop=1.0)
    assert merged(read_gate_table(write("[model]\nname = 1")), {}) == DEFAULT_LIMITS
    assert merged(GateTable(), {"these_images": True}) == Limits(max_drop=1.0, these_images=True)
    assert merged(GateTable(), {"min_agreement": 98.0}) == Limits(min_agreement=98.0)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("\n[gate]\nmax_drop = 1\nmax_dorp = 2\n", 4, "max_dorp: there is no such key in .gate.; it has max_drop"),
        ("[gate]\nmin_agreement = 101\n", 2, "min_agreement: "),
        ("[gate]\n\nmax_drop = 'much'\n", 3, "max_drop: "),
        ("[gate]\nmax_size = '3MB'\n", 2, "max_size"),
        ("[gate]\nmax_drop = nan\n", 2, "max_drop: "),
        ("[gate]\nallow_inconclusive = 1\n", 2, "allow_inconclusive: "),
        ("gate.max_dorp = 2\n", 1, "max_dorp"),
        ("[other]\nmax_dorp = 1\n[gate]\n'max_dorp' = 2\n", 4, "max_dorp"),
        ("[gate.max_dorp]\nvalue = 2\n", 1, "max_dorp"),
    ],
)
def test_a_wrong_key_is_ek636_with_its_line(write: Write, text: str, line: int, said: str) -> None:
    with pytest.raises(ComparisonError, match=f"EK636 .*edgekit.toml:{line}: {said}"):
        read_gate_table(write(text))


@pytest.mark.parametrize("text", ["gate = 3", "[gate\n", "[gate]\nmax_drop = 1\nmax_drop = 2\n"])
def test_a_file_that_is_no_such_table_is_ek636(write: Write, text: str) -> None:
    with pytest.raises(ComparisonError, match=r"EK636 .*edgekit\.toml: .*docs/gate\.md"):
        read_gate_table(write(text))


def test_the_page_names_every_key_and_its_flag(repository: Path) -> None:
    page = (repository / "docs" / "gate.md").read_text(encoding="utf-8")
    for key in GateTable.model_fields:
        assert f"`{key}" in page
        assert f"`--{key.replace('_', '-')}" in page


def test_a_file_that_cannot_be_read_is_ek636(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match=r"EK636 .*No such file"):
        read_gate_table(tmp_path / "edgekit.toml")


def test_keys_that_a_pipeline_has_in_the_table_are_left_to_it(write: Write) -> None:
    table = read_gate_table(write('[gate]\nenabled = false\nbaseline = "model.onnx"\nmin_agreement = 98.0'))
    assert table.limits() == Limits(min_agreement=98.0)
