"""Every code block of docs/ is run, or says in the page why not; what it prints is what the page shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from examples import LANGUAGES, REPOSITORY, Block, blocks, run_block

DOCS = REPOSITORY / "docs"
# Makes what the blocks of the other pages read.
FILES = DOCS / "examples.md"
PAGES = {str(page.relative_to(DOCS)): page for page in sorted(DOCS.rglob("*.md")) if page != FILES}
README = REPOSITORY / "README.md"
SLOW = (
    "findings.md",
    "gate.md",
    "how-to/diagnose.md",
    "how-to/pipeline.md",
    "how-to/prune.md",
    "how-to/sweep.md",
    "pipeline.md",
    "validate.md",
)


def runs(page: Path) -> bool:
    return any(block.reason is None and block.language != "text" for block in blocks(page))


def run_page(page: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Run the blocks of a page one after another in a folder, as its reader would."""
    patch.chdir(folder)
    for block in blocks(page):
        if block.reason is None:
            run_block(block, folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page of files for the examples makes."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        run_page(FILES, folder, patch)
    return folder


@pytest.mark.parametrize("page", [FILES, README, *PAGES.values()], ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_each_block_is_of_a_kind_that_is_run_or_says_why_it_is_not(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: {block.language}"
        if block.language == "text":
            assert "$ " not in block.text, f"{block.place}: a command is a console block"
        if block.language == "sh":
            assert block.reason, f"{block.place}: nothing runs it, so it says why"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name, page in PAGES.items()
        if runs(page) and name != "tutorial.md"
    ],
)
def test_every_block_of_the_page_does_what_it_shows(
    name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(files, folder)
    run_page(PAGES[name], folder, monkeypatch)


@pytest.mark.slow
def test_the_tutorial_begins_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(DOCS / "tutorial.md", tmp_path, monkeypatch)


def test_most_blocks_are_run() -> None:
    found = [block for page in (FILES, *PAGES.values()) for block in blocks(page) if block.language != "text"]
    run = [block for block in found if block.reason is None]
    assert len(run) > len(found) / 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$ edgekit models\nname   parameters\nmobilenet_v9   12\n", "shown and not printed: {'mobilenet_v9'}"),
        ("$ edgekit models --nonsense\n", "exit code 2"),
        ("$ edgekit models\n$ echo $?\n1\n", "exit code 0"),
        ("$ edgekit inspect missing.onnx\nedgekit: EK101 missing.onnx: …\n", None),
        ("$ edgekit models\nname   …\n…\nmobilenet_v1   99\n", None),
    ],
)
def test_a_block_that_shows_something_else_fails(
    text: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = Block("page:1", "console", text)
    if message is None:
        run_block(block, tmp_path)
        return
    with pytest.raises(AssertionError) as failure:
        run_block(block, tmp_path)
    assert message in str(failure.value)


def test_a_file_with_a_key_that_its_schema_lacks_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_block(Block("page:1", "toml", "[export]\nopset = 13\n", title="edgekit.toml"), tmp_path)
    with pytest.raises(AssertionError, match="opsett"):
        run_block(Block("page:1", "toml", "[export]\nopsett = 13\n", title="edgekit.toml"), tmp_path)


def test_a_reason_holds_for_the_next_block_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.REPOSITORY", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        '<!-- not run: needs a\nJetson -->\n```sh\nls\n```\n\n```toml title="edgekit.toml"\n[gate]\n```\n\n'
        "<!-- not run: lost -->\nWords between.\n\n```sh\nls\n```\n\n    indented\n"
    )
    found = [(block.language, block.title, block.reason) for block in blocks(page)]
    assert found == [
        ("sh", None, "needs a Jetson"),
        ("toml", "edgekit.toml", None),
        ("sh", None, None),
        ("indented", None, None),
    ]


def test_the_first_output_of_the_site_is_that_of_the_readme() -> None:
    (first,) = (block for block in blocks(DOCS / "index.md") if block.language == "console")
    assert first.text in [block.text for block in blocks(README)]
