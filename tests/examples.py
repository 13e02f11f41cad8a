"""The code blocks of Markdown pages: found, run, and what they print compared with what the page shows."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import jsonschema
import pytest
from markdown_it import MarkdownIt

from edgekit.cli._main import run as run_edgekit
from edgekit.files import read_toml

REPOSITORY: Final = Path(__file__).resolve().parents[1]
# Languages of blocks that are run or read; `text` is a drawing, a form of words or a file that nobody runs.
LANGUAGES: Final = ("console", "python", "sh", "text", "toml")
NOT_RUN: Final = re.compile(r"<!-- not run: (\S.*?) -->", re.DOTALL)
TITLE: Final = re.compile(r'title="([^"]+)"')
ASSIGNMENT: Final = re.compile(r"[A-Z_]+=")
# Files that a block writes by its title, and the schema that they keep.
SCHEMAS: Final = {"edgekit": "pipeline.schema.json", "sweep": "sweep.schema.json"}
_PLUGIN: Final = "edgekit.pytest_plugin"
INSTALLED: Final = any(entry.value == _PLUGIN for entry in importlib.metadata.entry_points(group="pytest11"))


@dataclasses.dataclass(frozen=True)
class Block:
    """One code block of a page.

    Args:
        place: Page and line, for messages.
        language: First word behind the fence.
        text: What is in it.
        title: Name of the file that it is; None where it is none.
        reason: Why it is not run; None where it is.
    """

    place: str
    language: str
    text: str
    title: str | None = None
    reason: str | None = None


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page in order; indented ones have the language `indented`."""
    found: list[Block] = []
    reason: str | None = None
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            match = NOT_RUN.search(token.content)
            reason = " ".join(match[1].split()) if match else None
        elif token.type in ("fence", "code_block"):
            assert token.map is not None
            place = f"{page.relative_to(REPOSITORY)}:{token.map[0] + 1}"
            title = TITLE.search(token.info)
            language = token.info.split()[0] if token.info.strip() else "indented"
            found.append(Block(place, language, token.content, title and title[1], reason))
            reason = None
        elif token.nesting >= 0:
            # The reason stands directly before its block.
            reason = None
    return found


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Return each `$ …` line of a console block with the lines of output that are shown under it."""
    found: list[tuple[str, list[str]]] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip():
            assert found, f"output before any command: {line}"
            found[-1][1].append(line)
    return found


def labels(lines: list[str]) -> set[str]:
    """Return the first column of an output: what is left of a run of two spaces, with # for each number."""
    heads = (re.split(r"\s{2,}", line.strip())[0] for line in lines)
    masked = (re.sub(r"(?<![A-Za-z_\d])\d[\d,.]*", "#", head) for head in heads)
    return {head for head in masked if re.fullmatch(r"[A-Za-z][A-Za-z0-9_# -]*", head)}


def run_block(block: Block, folder: Path) -> None:
    """Run a block in `folder`, which is the working folder: it does what it shows, or an assertion fails."""
    assert Path.cwd() == folder.resolve()
    if block.title is not None:
        (folder / block.title).parent.mkdir(exist_ok=True)
        (folder / block.title).write_text(block.text, encoding="utf-8")
    if block.language == "console":
        _run_console(block)
    elif block.language == "python" and re.search(r"^def test_", block.text, re.MULTILINE):
        _run_pytest(block, folder)
    elif block.language == "python":
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block.text, block.place, "exec"), {"__name__": "__main__"})
    elif block.language == "toml":
        _read_toml(block, folder)
    else:
        assert block.language == "text", f"{block.place}: nothing runs {block.language}; give a reason"


def _run_console(block: Block) -> None:
    shown = commands(block.text)
    assert shown, f"{block.place}: no command"
    code = 0
    for position, (command, output) in enumerate(shown):
        if command == "echo $?":
            continue
        code, printed = _run_command(command)
        after = shown[position + 1] if position + 1 < len(shown) else ("", [])
        if after[0] == "echo $?":
            expected = int(after[1][0])
        else:
            expected = 2 if any(line.startswith("edgekit: EK") for line in output) else 0
        assert code == expected, f"{block.place}: {command}\nexit code {code}\n{printed}"
        missing = labels(output) - labels(printed.splitlines())
        assert not missing, f"{block.place}: {command}\nshown and not printed: {missing}\n{printed}"


def _run_command(command: str) -> tuple[int, str]:
    """Run one line, edgekit in this process; returns the exit code and what was printed."""
    words = shlex.split(command)
    variables = []
    while ASSIGNMENT.match(words[0]):
        variables.append(words.pop(0).split("=", 1))
    program, *arguments = words
    if program == "edgekit":
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in variables:
                patch.setenv(name, value)
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                return run_edgekit(arguments), printed.getvalue()
    program = sys.executable if program == "python" else program
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": str(REPOSITORY), **dict(variables)}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def _run_pytest(block: Block, folder: Path) -> None:
    """Run a block that is a test, by a pytest inside this one."""
    # Each has a name of its own: a module that was imported stays imported.
    name = f"test_{re.sub('[^a-z0-9]+', '_', block.place)}.py"
    (folder / name).write_text(block.text, encoding="utf-8")
    plugin = () if INSTALLED else ("-p", _PLUGIN)
    flags = ["--edgekit-gate", "-p", "no:cacheprovider", "--rootdir", ".", "--import-mode", "importlib"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = pytest.main([*plugin, *flags, name])
    assert code == 0, f"{block.place}\n{printed.getvalue()}"
    assert "1 passed" in printed.getvalue()


def _read_toml(block: Block, folder: Path) -> None:
    assert block.title is not None, f"{block.place}: a file has a title, by which its schema is known"
    schema = json.loads((REPOSITORY / "docs" / SCHEMAS[Path(block.title).stem]).read_text(encoding="utf-8"))
    faults = jsonschema.Draft202012Validator(schema).iter_errors(read_toml(folder / block.title))
    messages = [fault.message for fault in faults]
    assert not messages, f"{block.place}: {messages}"
