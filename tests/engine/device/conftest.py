"""The bundle that the tests of the programs of a device start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from device_bundle import Bundle, make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path)
