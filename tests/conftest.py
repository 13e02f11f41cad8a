"""Fixtures that several test folders share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
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
    "test_examples.py", "test_readme.py", "test_run.py", "test_real_models.py", "test_kill.py", "test_processes.py",
    "test_ray.py", "test_repair.py", "test_rtx_parser.py", "test_injected_faults.py", "test_aware.py",
    "test_prune_command.py", "test_to_onnx.py", "test_export_command.py", "test_validate_command.py",
    "test_export_job.py", "test_sweep.py", "test_structure.py", "test_program.py", "test_sources.py",
    "test_run_commands.py", "test_targets_command.py", "test_families.py", "test_layer_errors.py",
    "test_training_loop.py", "test_packaging.py", "test_site.py", "test_validate_result.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, all others in their own order."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="module", autouse=True)
def few_frames() -> Iterator[None]:
    """Let what runs in this process time 20 frames by default, not 200: tests judge no time by its value."""
    from edgekit.validate import compare_latency, latency, time_pair

    with pytest.MonkeyPatch.context() as patch:
        for timing in (compare_latency, latency, time_pair):
            assert timing.__kwdefaults__ is not None
            patch.setitem(timing.__kwdefaults__, "frames", 20)
        yield


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


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the classes of the sample that ships: a hundredth of its model's work, and random weights."""
    # Imported here, after the variables above are set, and by the workers alone that need it.
    import torch

    from edgekit.data import sample
    from edgekit.models import build, save_checkpoint, to_metadata
    from edgekit.spec import ModelSpec, Preprocessing

    spec = ModelSpec("mobilenet_v1", 0.25, 10, 32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(spec)
    path = tmp_path_factory.mktemp("narrow") / "narrow.safetensors"
    save_checkpoint(path, module, to_metadata(spec, Preprocessing(32, 32), sample().class_names))
    return path


@pytest.fixture(scope="session")
def smaller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that ships, for images of 64 pixels: a quarter of the work, and nearly half of its answers right."""
    from edgekit.models import Overrides, load, save_checkpoint, to_metadata

    loaded = load(None, Overrides(input_size=64))
    preprocessing = dataclasses.replace(loaded.preprocessing, input_size=64, resize=64)
    path = tmp_path_factory.mktemp("smaller") / "smaller.safetensors"
    save_checkpoint(path, loaded.module, to_metadata(loaded.spec, preprocessing, loaded.class_names))
    return path
