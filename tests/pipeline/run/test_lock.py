"""The lock file: what it holds, and making the same bytes again from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pipelines import facts, run, snapshot

from edgekit.errors import UsageError
from edgekit.files import sha256_of
from edgekit.pipeline.run import RunOutcome, read_lock, reproduce

Finished = tuple[Path, RunOutcome]


def changed(lock: Path, **changes: object) -> Path:
    lock.write_text(json.dumps({**facts(lock), **changes}))
    return lock


def test_a_lock_names_sources_versions_settings_and_what_came_out(smaller: Path, finished: Finished) -> None:
    path = finished[0]
    lock = read_lock(path.with_suffix(".lock"))
    assert sha256_of(smaller) in lock.sources.values(), lock.sources
    assert lock.libraries["torch"]
    assert lock.libraries["onnxruntime"]
    assert lock.machine.threads == 1
    assert lock.settings["quantize"]["effort"] == "fast"
    quantized = next(stage for stage in lock.stages if stage.stage == "quantize")
    output = path.parent / "edgekit-run" / "quantize"
    assert quantized.outputs == {
        name: sha256_of(output / name)
        for name in ("model.fp32.onnx", "model.int8.onnx", "preprocessing.json", "calibration.safetensors")
    }
    assert "report.json" not in quantized.outputs, "it holds times"


def test_a_lock_holds_nothing_of_where_it_was_made(finished: Finished) -> None:
    text = finished[0].with_suffix(".lock").read_text()
    assert str(finished[0].parent) not in text


def test_the_same_bytes_are_made_again_and_nothing_else_is_touched(copy: Callable[[], Path], tmp_path: Path) -> None:
    path = copy()
    lock = path.with_suffix(".lock")
    shutil.rmtree(path.parent / "edgekit-run")
    before = snapshot(path.parent, leave_out=["hashes.sqlite", ".edgekit-running"])
    made = reproduce(lock, output=tmp_path / "kept")
    assert made.same
    assert (made.sources, made.environment) == ((), ())
    assert {(file.stage, file.file) for file in made.files} >= {("quantize", "model.int8.onnx")}
    assert (tmp_path / "kept" / "quantize" / "model.int8.onnx").is_file()
    assert snapshot(path.parent, leave_out=["hashes.sqlite", ".edgekit-running"]) == before


def test_other_bytes_are_said_with_what_is_different_here(copy: Callable[[], Path]) -> None:
    lock = copy().with_suffix(".lock")
    content = facts(lock)
    stages = [stage for stage in content["stages"] if stage["stage"] == "baseline"]
    stages[0]["outputs"]["model.fp32.onnx"] = "0" * 64
    settings = {name: table for name, table in content["settings"].items() if name not in ("quantize", "validate")}
    libraries = {**content["libraries"], "torch": "0.1"}
    changed(lock, stages=stages, settings=settings, libraries=libraries)
    made = reproduce(lock)
    assert not made.same
    assert {file.file: file.same for file in made.files} == {"model.fp32.onnx": False, "preprocessing.json": True}
    assert [(each.what, each.was) for each in made.environment] == [("torch", "0.1")]


def test_other_sources_are_said_before_anything_is_made(copy: Callable[[], Path]) -> None:
    lock = copy().with_suffix(".lock")
    changed(lock, sources={**facts(lock)["sources"], "the model that ships": "0" * 64})
    made = reproduce(lock)
    assert not made.same
    assert made.files == ()
    assert [(each.what, each.was) for each in made.sources] == [("the model that ships", "0" * 12)]


def test_a_lock_of_a_newer_version_is_refused_and_never_written_over(copy: Callable[[], Path]) -> None:
    path = copy()
    lock = changed(path.with_suffix(".lock"), schema="edgekit.lock/2", new=True)
    before = lock.read_bytes()
    for attempt in (lambda: reproduce(lock), lambda: run(path, "quantize.effort=best")):
        with pytest.raises(UsageError, match=r"EK013 .*edgekit\.lock: the lock file is of version 2"):
            attempt()
    assert lock.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<<<<<<< HEAD\n", "it is no lock file"),
        (b"[]", "it is no lock file"),
        (b"{}", "it is no lock file"),
        (b'{"schema": "edgekit.lock/1"}', "edgekit: Field required"),
        (b'{"schema": "other/1"}', "schema: Input should be 'edgekit.lock/1'"),
    ],
)
def test_a_damaged_lock_is_refused_and_never_written_over(copy: Callable[[], Path], content: bytes, what: str) -> None:
    path = copy()
    lock = path.with_suffix(".lock")
    lock.write_bytes(content)
    for attempt in (lambda: reproduce(lock), lambda: run(path)):
        with pytest.raises(UsageError, match=f"EK015 .*: {what}; restore it with git"):
            attempt()
    assert lock.read_bytes() == content


def test_a_lock_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"EK011 .*edgekit run writes it beside the pipeline file"):
        reproduce(tmp_path / "edgekit.lock")
