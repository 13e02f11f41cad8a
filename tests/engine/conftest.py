"""A bundle and its answer, which the tests of this folder work on copies of."""

from __future__ import annotations

import shutil
from pathlib import Path

import device_answers
import pytest


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the model that ships for a Jetson Nano, with the answer of run.sh."""
    bundle = device_answers.make(tmp_path_factory.mktemp("answered") / "bundle")
    device_answers.run_with_trtexec(bundle)
    return bundle


@pytest.fixture
def carried(answered: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(answered, tmp_path / "bundle"))
