"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests run in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the data set archives; absent: skip, or fail where CI=true."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        reason = "needs the data archives in ../shared/data, which are not on this machine"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
