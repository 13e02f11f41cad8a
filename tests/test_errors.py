"""The table of error codes: what is raised, what is documented and what is tested are the same codes."""

from __future__ import annotations

import ast
import pickle
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit import errors
from edgekit.errors import CODES, EdgekitError

FAMILIES = {
    errors.UsageError: "0",
    errors.ModelError: "1",
    errors.DataError: "2",
    errors.TrainingError: "3",
    errors.ExportError: "4",
    errors.QuantizationError: "5",
    errors.ComparisonError: "6",
    errors.TargetError: "7",
    errors.PruningError: "8",
    EdgekitError: "9",
}
CLASSES = {family.__name__ for family in FAMILIES}
ROW = re.compile(r"^\| (EK\d{3}) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def calls(repository: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield file, line and call of each error that the source makes."""
    for path in sorted((repository / "edgekit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
                yield f"{path.relative_to(repository)}:{node.lineno}", node.func.id, node


@pytest.fixture(scope="module")
def raised(repository: Path) -> dict[str, set[str]]:
    """Names of the error classes by the code that the source raises them with."""
    found: dict[str, set[str]] = defaultdict(set)
    for place, family, call in calls(repository):
        code = call.args[0]
        if isinstance(code, ast.Attribute) and code.attr == "code":
            continue  # An error that is raised again with more said about where.
        assert isinstance(code, ast.Constant), f"{place}: a code is written where it is raised"
        found[str(code.value)].add(family)
    return found


def test_every_code_is_raised_somewhere_and_every_raised_code_is_in_the_table(raised: dict[str, set[str]]) -> None:
    assert raised.keys() == CODES.keys()


def test_every_error_uses_a_code_of_its_own_family(raised: dict[str, set[str]]) -> None:
    hundreds = {family.__name__: hundred for family, hundred in FAMILIES.items()}
    strangers = {(code, name) for code, names in raised.items() for name in names if hundreds[name] != code[2]}
    assert not strangers


def test_every_error_says_what_to_do(repository: Path) -> None:
    for place, _, call in calls(repository):
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        assert "hint" in keywords, place
        for text in (*call.args[1:2], keywords["hint"]):
            if isinstance(text, ast.Constant):
                assert text.value, place
                assert not str(text.value).endswith("."), place


def test_every_code_is_documented_once_with_its_meaning_and_what_to_do(repository: Path) -> None:
    rows = ROW.findall((repository / "docs" / "errors.md").read_text(encoding="utf-8"))
    assert [(code, meaning) for code, meaning, _, _ in rows] == list(CODES.items())
    assert all(cause.strip() and advice.strip() for _, _, cause, advice in rows)


def test_every_code_is_provoked_by_a_test(repository: Path) -> None:
    this = Path(__file__)
    texts = [path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py") if path != this]
    missing = {code for code in CODES if not any(code in text for text in texts)}
    assert not missing


def test_an_error_reads_code_where_what_and_hint() -> None:
    error = errors.ModelError("EK101", "there is no such file", where="a.onnx", hint="check the path")
    assert str(error) == "EK101 a.onnx: there is no such file; check the path"
    nowhere = errors.UsageError("EK006", "the machine has too little memory", hint="take a smaller model")
    assert str(nowhere) == "EK006 the machine has too little memory; take a smaller model"
    assert error.as_dict() == {
        "code": "EK101",
        "what": "there is no such file",
        "where": "a.onnx",
        "hint": "check the path",
    }


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_an_error_survives_pickling_as_what_it_was(family: type[EdgekitError]) -> None:
    code = next(code for code in CODES if code[2] == FAMILIES[family])
    error = family(code, "what", where="where", hint="hint")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is family
    assert again.as_dict() == error.as_dict()
    assert str(again) == str(error)


def test_a_code_outside_the_table_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="EK777"):
        EdgekitError("EK777", "what", hint="hint")
