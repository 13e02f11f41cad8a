"""What a run leaves to resume from: written whole, refused when it is damaged, hostile or of another run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import IMAGES, PREPROCESSING, QUICK, SAMPLE, SPEC, new_module, run

from edgekit.errors import TrainingError
from edgekit.spec import ModelSpec
from edgekit.training import STATE_FILE, Trained, train

ONE_EPOCH = dataclasses.replace(QUICK, epochs=1)
NARROWER = dataclasses.replace(QUICK.augmentation, crop_padding=2)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("state")
    run(folder, recipe=ONE_EPOCH)
    return (folder / STATE_FILE).read_bytes()


@pytest.fixture
def folder(tmp_path: Path, state: bytes) -> Path:
    """A folder with the state of a finished run."""
    (tmp_path / STATE_FILE).write_bytes(state)
    return tmp_path


def resume(folder: Path) -> Trained:
    return run(folder, recipe=ONE_EPOCH, resume=True)


def refused(folder: Path) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        resume(folder)
    assert caught.value.code == "EK301"
    assert caught.value.where == str(folder / STATE_FILE)
    return caught.value


def change(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = torch.load(folder / STATE_FILE, weights_only=True)
    replaced = edit(content)
    torch.save(content if replaced is None else replaced, folder / STATE_FILE)


def edit_run(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    def of_content(content: dict[str, Any]) -> None:
        stored = json.loads(content["run"])
        edit(stored)
        content["run"] = json.dumps(stored)

    change(folder, of_content)


def test_a_state_that_is_whole_is_taken(folder: Path) -> None:
    assert len(resume(folder).history) == 1


def test_without_a_state_there_is_nothing_to_resume(tmp_path: Path) -> None:
    assert "leave out --resume" in refused(tmp_path).hint


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a state",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: flipped(content, len(content) // 2),
    ],
    ids=["empty", "text", "its beginning", "its first half", "without its last byte", "a bit flipped"],
)  # fmt: skip
def test_a_damaged_file_is_refused(folder: Path, state: bytes, damage: Callable[[bytes], bytes]) -> None:
    (folder / STATE_FILE).write_bytes(damage(state))
    assert "damaged" in refused(folder).what


@pytest.mark.parametrize("part", ["schema", "run", "history", "model", "optimizer"])
@pytest.mark.parametrize("value", ["nothing", "an integer", "wrong words"])
def test_a_state_with_a_wrong_part_is_refused(folder: Path, part: str, value: str) -> None:
    def edit(content: dict[str, Any]) -> None:
        if value == "nothing":
            del content[part]
        else:
            content[part] = 7 if value == "an integer" else "[7]"

    change(folder, edit)
    assert "damaged" in refused(folder).what


@pytest.mark.parametrize("content", [[], torch.zeros(3), {}, "state"], ids=["list", "tensor", "empty", "text"])
def test_a_file_of_torch_that_is_no_state_is_refused(folder: Path, content: object) -> None:
    change(folder, lambda _: content)
    assert "damaged" in refused(folder).what


def test_weights_of_other_shapes_are_refused(folder: Path) -> None:
    change(folder, lambda content: content.update(model=new_module(ModelSpec("mobilenet_v1", 0.5, 10)).state_dict()))
    assert "damaged" in refused(folder).what


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_state_is_not_run(folder: Path) -> None:
    trap = folder / "trap"
    change(folder, lambda content: content.update(extra=Hostile(trap)))
    refused(folder)
    assert not trap.exists()
    with zipfile.ZipFile(folder / STATE_FILE) as archive:
        assert b"mkdir" in archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


@pytest.mark.parametrize(
    ("part", "options"),
    [
        ("model.width", {"spec": dataclasses.replace(SPEC, width=0.5)}),
        ("model.padding", {"spec": dataclasses.replace(SPEC, padding="tf_same")}),
        ("recipe.learning_rate", {"recipe": dataclasses.replace(ONE_EPOCH, learning_rate=0.06)}),
        ("recipe.epochs", {"recipe": QUICK}),
        ("recipe.augmentation.crop_padding", {"recipe": dataclasses.replace(ONE_EPOCH, augmentation=NARROWER)}),
        ("seed", {"seed": 1}),
        ("training_images", {"images": SAMPLE.calibration.spread(64)}),
        ("training_labels", {"images": IMAGES.select([*range(1, 96), 0])}),
        ("initial_weights", {"initial_weights": "another checkpoint"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_state_of_another_run_is_refused_by_what_differs(folder: Path, part: str, options: dict[str, Any]) -> None:
    with pytest.raises(TrainingError) as caught:
        run(folder, **{"recipe": ONE_EPOCH, **options}, resume=True)
    assert caught.value.code == "EK301"
    assert f"another run: {part} was " in caught.value.what
    assert len(caught.value.what) < 300


def test_another_preprocessing_is_another_run(folder: Path) -> None:
    brighter = dataclasses.replace(PREPROCESSING, mean=(0.5, 0.5, 0.5))
    with pytest.raises(TrainingError, match=r"EK301 .*preprocessing.mean was \[0\.4914"):
        train(new_module(), SPEC, brighter, ONE_EPOCH, IMAGES, folder, resume=True)


def test_a_state_from_before_two_facts_were_stored_is_taken(folder: Path) -> None:
    """The first states held neither the labels' hash nor the initialisation, which was torch's own."""

    def older(stored: dict[str, Any]) -> None:
        del stored["training_labels"], stored["recipe"]["initialisation"]

    edit_run(folder, older)
    assert len(resume(folder).history) == 1


@pytest.mark.parametrize("part", ["model", "preprocessing", "recipe", "seed", "training_images", "initial_weights"])
def test_a_state_that_does_not_say_what_run_it_is_of_is_refused(folder: Path, part: str) -> None:
    edit_run(folder, lambda stored: stored.pop(part))
    assert "damaged" in refused(folder).what


def test_a_full_disk_leaves_the_state_of_the_epoch_before(tmp_path: Path) -> None:
    """A limit on the size of files is how a process meets a full disk without filling one."""
    script = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from training_runs import run
from edgekit.errors import UsageError

def on_epoch(result, module):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

try:
    run(Path({str(tmp_path)!r}), on_epoch=on_epoch)
except UsageError as error:
    print(error.code, error.where)
"""
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["EK003", str(tmp_path / STATE_FILE)]
    assert [file.name for file in tmp_path.iterdir()] == [STATE_FILE]
    assert (tmp_path / STATE_FILE).stat().st_size > 100_000
    assert len(json.loads(torch.load(tmp_path / STATE_FILE, weights_only=True)["history"])) == 1
    assert len(run(tmp_path, resume=True).history) == 3
