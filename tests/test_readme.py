"""The README is run: both set-up commands are there, every command works, every figure shown has its row.

Its commands run one after the other in this process, in one folder: starting Python and torch for each took longer than
most of them. What a process of its own does is tested in test_packaging.py and cli/test_program.py.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekit.cli._main import run
from edgekit.shipped import shipped

SETUP = re.compile(r"^python3 -m venv .*$", re.MULTILINE)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the image trees that the README's own-model examples speak of."""
    folder = tmp_path_factory.mktemp("newcomer")
    for name, target in (("cifar10_calibration.zip", "train_images"), ("cifar10_evaluation.zip", "val_images")):
        with zipfile.ZipFile(shipped("calibration") / name) as archive:
            archive.extractall(folder / target)
    return folder


def typed(arguments: list[str]) -> tuple[int, str]:
    """Run a command line as if it had been typed; returns its exit code and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run(arguments)
    return code, printed.getvalue()


def shown_commands(text: str) -> list[tuple[str, list[str]]]:
    """Return each `$ edgekit …` line of the console blocks with the output lines shown under it."""
    commands: list[tuple[str, list[str]]] = []
    for block in CONSOLE.findall(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif commands and line.strip():
                commands[-1][1].append(line)
    return commands


def labels(lines: list[str]) -> set[str]:
    """Return the first column of an output: what is left of a run of two spaces, without numbers."""
    heads = (re.split(r"\s{2,}", line.strip())[0] for line in lines)
    return {head for head in heads if re.fullmatch(r"[A-Za-z][A-Za-z0-9 -]*", head)}


def test_there_are_exactly_two_set_up_commands(readme: str) -> None:
    main_job, tests = SETUP.findall(readme)
    assert main_job.endswith("edgekit export --quantize static")
    assert tests.endswith("pytest -n auto")


@pytest.mark.slow
def test_every_command_shown_works_and_prints_what_is_shown(
    readme: str, newcomer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(newcomer)
    commands = shown_commands(readme)
    assert len(commands) >= 8
    for command, output in commands:
        program, *arguments = shlex.split(command)
        assert program == "edgekit"
        code, printed = typed(arguments)
        expected = 2 if any(line.startswith("edgekit: EK") for line in output) else 0
        assert code == expected, f"{command}\n{printed}"
        assert labels(output) <= labels(printed.splitlines()), command


def test_every_python_snippet_works(readme: str, newcomer: Path) -> None:
    snippets = PYTHON.findall(readme)
    assert snippets
    for snippet in snippets:
        words = [sys.executable, "-W", "error", "-c", snippet]
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        result = subprocess.run(words, cwd=newcomer, capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 0, result.stderr


def test_links_lead_to_files_that_exist(readme: str, repository: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert links
    for link in links:
        assert (repository / link).exists(), link
