"""The README is run: both set-up commands are there, every command works, every figure shown has its row.

Its commands run one after the other in this process, in one folder: starting Python and torch for each took longer than
most of them. What a process of its own does is tested in test_packaging.py and cli/test_program.py.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from examples import blocks, commands, run_block

from edgekit.shipped import shipped

SETUP = re.compile(r"^python3 -m venv .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the image trees that the README's own-model examples speak of, a quarter of the sample's images."""
    folder = tmp_path_factory.mktemp("newcomer")
    for name, target in (("cifar10_calibration.zip", "train_images"), ("cifar10_evaluation.zip", "val_images")):
        with zipfile.ZipFile(shipped("calibration") / name) as archive:
            archive.extractall(folder / target, archive.namelist()[::4])
    return folder


def test_there_are_exactly_two_set_up_commands(readme: str) -> None:
    main_job, tests = SETUP.findall(readme)
    assert main_job.endswith("edgekit export --quantize static")
    assert tests.endswith("pytest -n auto")


def test_every_block_does_what_it_shows(repository: Path, newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(newcomer)
    run = [block for block in blocks(repository / "README.md") if block.reason is None and block.language != "text"]
    assert sum(len(commands(block.text)) for block in run if block.language == "console") >= 8
    assert any(block.language == "python" for block in run)
    for block in run:
        run_block(block, newcomer)


def test_links_lead_to_files_that_exist(readme: str, repository: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert links
    for link in links:
        assert (repository / link).exists(), link
