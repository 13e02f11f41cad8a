"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# Time is measured by benchmarks, never by tests: this may be a busy machine.
hypothesis.settings.register_profile("edgekit", deadline=None)
hypothesis.settings.load_profile("edgekit")

# Workers side by side: a core and a thread each, for them and for the processes that they start. Else the threads of
# one would wait, spinning, for a core that another has. Set before torch and onnxruntime count the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cores = sorted(os.sched_getaffinity(0))
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    os.sched_setaffinity(0, {cores[worker % len(cores)]})

REPOSITORY = Path(__file__).resolve().parent.parent

# The longest files begin: one that began last would run alone at the end, on one of the cores.
LONGEST = (
    "test_readme.py", "test_examples.py", "test_real_models.py", "test_prune_command.py", "test_run.py",
    "test_export_job.py", "test_processes.py", "test_export_command.py", "test_repair.py",
    "test_injected_faults.py", "test_kill.py", "test_aware.py", "test_sweep.py", "test_ray.py",
    "test_rtx_parser.py", "test_recovery.py", "test_structure.py", "test_packaging.py", "test_training_loop.py",
    "test_program.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, all others in their own order."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


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
