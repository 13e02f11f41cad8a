"""One finished run that several tests look at or copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pipelines import run, write

from edgekit.pipeline.run import RunOutcome


@pytest.fixture(scope="session")
def finished(smaller: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunOutcome]:
    """The pipeline file of a small run that is done, and what it came to; a test that changes it works on a copy."""
    path = write(tmp_path_factory.mktemp("finished"))
    shutil.copy(smaller, path.parent)
    return path, run(path)


@pytest.fixture
def copy(finished: tuple[Path, RunOutcome], tmp_path: Path) -> Callable[[], Path]:
    """Copies the finished run, cache and all, and returns its pipeline file."""

    def make() -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(finished[0].parent, folder)
        return folder / finished[0].name

    return make
