"""`edgekit train` from images to a checkpoint that needs no flag, and from a checkpoint to other classes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from training_runs import SAMPLE, same

from edgekit.cli._main import run as run_command
from edgekit.data import Augmentation, preprocess
from edgekit.errors import DataError
from edgekit.models import Overrides, load
from edgekit.pipeline.train import CHECKPOINT_FILE, TrainOutcome, TrainRequest, train_model
from edgekit.training import STATE_FILE, EpochResult, Recipe, recipe

SMALL = Overrides(width=0.25, input_size=32, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
FLAGS = ["--width", "0.25", "--input-size", "32", "--mean", "0.49,0.48,0.45", "--std", "0.25,0.24,0.26"]
# A learning rate below the resolution of the weights: what differs afterwards was replaced, not trained.
STILL = Recipe("still", "sgd", 1e-30, 1, Augmentation(flip=False), batch_size=16)
TRAINED = dataclasses.replace(STILL, learning_rate=0.05, epochs=2)


def write_tree(root: Path, classes: Sequence[str], order: Sequence[str] = (), each: int = 8) -> Path:
    """Write a class-per-folder tree of CIFAR-10 images; a prefix `x-` gives a class another name."""
    images = SAMPLE.calibration
    assert images.labels is not None
    for name in classes:
        (root / name).mkdir(parents=True)
        number = SAMPLE.class_names.index(name.removeprefix("x-"))
        for index in [index for index, label in enumerate(images.labels) if label == number][:each]:
            (root / name / f"{index}.jpg").write_bytes(images.encoded(index))
    if order:
        (root / "classes.txt").write_text("\n".join(order))
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "images", ["cat", "dog", "ship"])


@pytest.fixture(scope="module")
def checkpoint(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained checkpoint of three classes."""
    request = TrainRequest(tree, TRAINED, tmp_path_factory.mktemp("trained"), overrides=SMALL, evaluation=tree)
    return train_model(request).checkpoint


def fine_tune(model: Path, images: Path, output: Path, overrides: Overrides = Overrides()) -> TrainOutcome:  # noqa: B008
    return train_model(TrainRequest(images, STILL, output, model=model, overrides=overrides))


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Return what the optimizer changes: without the running means, which training always moves."""
    return {name: value for name, value in safetensors.torch.load_file(path).items() if "running" not in name}


def changed(before: Path, after: Path) -> set[str]:
    first, second = weights(before), weights(after)
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


def facts(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run_command(["train", *map(str, arguments), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run_command(["train", *map(str, arguments)]) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    return line


def test_a_trained_checkpoint_needs_no_flag(checkpoint: Path) -> None:
    loaded = load(checkpoint)
    assert (loaded.spec.architecture, loaded.spec.width, loaded.spec.input_size) == ("mobilenet_v1", 0.25, 32)
    assert loaded.class_names == ("cat", "dog", "ship")
    assert loaded.preprocessing.mean == SMALL.mean
    assert loaded.preprocessing.std == SMALL.std
    assert loaded.notes == ()
    state = torch.load(checkpoint.parent / STATE_FILE, weights_only=True)["model"]
    assert all(
        torch.equal(value, state[name]) for name, value in loaded.module.state_dict().items() if "num_" not in name
    )
    image = torch.from_numpy(preprocess(SAMPLE.evaluation.read(0), loaded.preprocessing))[None]
    with torch.inference_mode():
        assert torch.isfinite(loaded.module(image)).all()


def test_the_checkpoint_says_how_it_was_made(checkpoint: Path) -> None:
    with safetensors.safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["recipe"]) == dataclasses.asdict(TRAINED)
    assert (metadata["seed"], metadata["epochs_done"], metadata["training_images"]) == ("0", "2", "24")
    assert metadata["top1_images"] == "24"
    assert 0 <= float(metadata["top1"]) <= 100


def test_classes_are_in_the_order_of_classes_txt(tmp_path: Path) -> None:
    images = write_tree(tmp_path / "images", ["cat", "dog", "ship"], ["ship", "cat", "dog"])
    outcome = train_model(TrainRequest(images, STILL, tmp_path / "out", overrides=SMALL))
    assert load(outcome.checkpoint).class_names == ("ship", "cat", "dog")


def test_an_npz_with_labels_names_its_classes_by_number(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(8) % 3)
    outcome = train_model(TrainRequest(tmp_path / "set.npz", STILL, tmp_path / "out", overrides=SMALL))
    assert load(outcome.checkpoint).class_names == ("0", "1", "2")


def test_fine_tuning_on_the_same_classes_replaces_nothing(checkpoint: Path, tree: Path, tmp_path: Path) -> None:
    outcome = fine_tune(checkpoint, tree, tmp_path)
    assert changed(checkpoint, outcome.checkpoint) == set()
    assert outcome.notes == ()


def test_fine_tuning_keeps_the_order_of_the_model_where_the_classes_are_the_same(
    checkpoint: Path, tmp_path: Path
) -> None:
    images = write_tree(tmp_path / "images", ["cat", "dog", "ship"], ["ship", "dog", "cat"])
    outcome = fine_tune(checkpoint, images, tmp_path / "out")
    assert load(outcome.checkpoint).class_names == ("cat", "dog", "ship")
    assert changed(checkpoint, outcome.checkpoint) == set()


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (["cat", "ship"], "3 classes became 2"),
        (["cat", "dog", "x-ship"], "the 3 classes of the images are not those of the checkpoint"),
    ],
)
def test_fine_tuning_on_other_classes_replaces_the_last_layer_alone_and_says_so(
    checkpoint: Path, tmp_path: Path, classes: list[str], reason: str
) -> None:
    outcome = fine_tune(checkpoint, write_tree(tmp_path / "images", classes), tmp_path / "out")
    assert changed(checkpoint, outcome.checkpoint) == {"classifier.weight", "classifier.bias"}
    assert [note.text for note in outcome.notes] == [f"the last layer is new: {reason}"]
    loaded = load(outcome.checkpoint)
    assert loaded.class_names == tuple(classes)
    assert loaded.preprocessing == load(checkpoint).preprocessing


def test_in_v3_the_layer_before_the_last_is_kept(tree: Path, tmp_path: Path) -> None:
    overrides = dataclasses.replace(SMALL, architecture="mobilenet_v3_small")
    before = train_model(TrainRequest(tree, STILL, tmp_path / "before", overrides=overrides)).checkpoint
    outcome = fine_tune(before, write_tree(tmp_path / "images", ["cat", "dog"]), tmp_path / "after")
    assert changed(before, outcome.checkpoint) == {"classifier.3.weight", "classifier.3.bias"}


def test_a_checkpoint_without_names_is_taken_to_be_of_the_classes_of_the_images(
    checkpoint: Path, tree: Path, tmp_path: Path
) -> None:
    torch.save(load(checkpoint).module.state_dict(), tmp_path / "plain.pth")
    outcome = fine_tune(tmp_path / "plain.pth", tree, tmp_path / "out", SMALL)
    assert changed(checkpoint, outcome.checkpoint) == set()
    assert any("does not name its 3 classes" in note.text for note in outcome.notes)


def test_evaluation_follows_the_classes_of_the_model(checkpoint: Path, tmp_path: Path) -> None:
    """The same images in folders of another order have the same accuracy."""
    mirrored = write_tree(tmp_path / "mirrored", ["cat", "dog", "ship"], ["ship", "dog", "cat"])
    request = TrainRequest(mirrored, STILL, tmp_path / "out", model=checkpoint, evaluation=mirrored)
    again = dataclasses.replace(request, evaluation=write_tree(tmp_path / "plain", ["cat", "dog", "ship"]))
    assert train_model(request).history[0].top1 == train_model(again).history[0].top1


def test_broken_images_are_named_in_the_outcome(tmp_path: Path) -> None:
    images = write_tree(tmp_path / "images", ["cat", "dog", "ship"], each=40)
    (images / "cat" / "broken.jpg").write_bytes(b"no image")
    whole = dataclasses.replace(STILL, batch_size=121)
    outcome = train_model(TrainRequest(images, whole, tmp_path / "out", overrides=SMALL))
    assert outcome.broken == ("cat/broken.jpg: not a JPEG, PNG, WebP or BMP image",)


def test_the_command_trains_and_tells_the_facts(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = facts(capsys, "--data", tree, "--eval", tree, "--output", tmp_path, "--epochs", 2, "--batch-size", 8, *FLAGS)
    assert told["checkpoint"] == str(tmp_path / CHECKPOINT_FILE)
    assert told["model"]["num_classes"] == 3
    assert told["parameters"] == sum(parameter.numel() for parameter in load(told["checkpoint"]).module.parameters())
    assert [result["epoch"] for result in told["history"]] == [1, 2]
    assert told["history"][-1]["evaluated"] == 24
    assert told["broken"] == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [CHECKPOINT_FILE, STATE_FILE]


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


def test_the_command_resumes_to_the_same_file(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", tree, "--epochs", 2, "--batch-size", 8, "--seed", 3, *FLAGS]
    facts(capsys, *options, "--output", tmp_path / "whole")

    def on_epoch(result: EpochResult) -> None:
        raise Interrupted

    same_recipe = dataclasses.replace(recipe("sgd").lasting(2), batch_size=8)
    parts = tmp_path / "parts"
    with pytest.raises(Interrupted):
        train_model(TrainRequest(tree, same_recipe, parts, overrides=SMALL, seed=3), on_epoch=on_epoch)
    told = facts(capsys, *options, "--output", parts, "--resume")
    assert [result["epoch"] for result in told["history"]] == [1, 2]
    first, second = (safetensors.torch.load_file(folder / CHECKPOINT_FILE) for folder in (tmp_path / "whole", parts))
    assert same(first, second)


def test_resuming_a_finished_run_writes_the_checkpoint_that_is_missing(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a kill between the state of the last epoch and its checkpoint."""
    options = ["--data", tree, "--output", tmp_path, "--epochs", 1, "--batch-size", 8, *FLAGS]
    facts(capsys, *options)
    before = safetensors.torch.load_file(tmp_path / CHECKPOINT_FILE)
    (tmp_path / CHECKPOINT_FILE).unlink()
    facts(capsys, *options, "--resume")
    assert same(safetensors.torch.load_file(tmp_path / CHECKPOINT_FILE), before)


def test_the_name_of_an_architecture_starts_from_random_weights(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = facts(capsys, "mobilenet_v2", "--data", tree, "--output", tmp_path, "--epochs", 1, "--batch-size", 8, *FLAGS)
    assert told["model"]["architecture"] == "mobilenet_v2"
    with safetensors.safe_open(told["checkpoint"], "pt") as file:
        assert json.loads(file.metadata()["recipe"])["name"] == "sgd"


def test_the_recipes_first_weights_are_used(tree: Path, tmp_path: Path) -> None:
    begun = dataclasses.replace(STILL, initialisation="mobilenet")
    outcome = train_model(TrainRequest(tree, begun, tmp_path, overrides=SMALL))
    trained = weights(outcome.checkpoint)
    depthwise = trained["features.1.0.weight"].abs().max().item()
    assert 0.5 < depthwise <= (6 / 18) ** 0.5
    assert not trained["classifier.bias"].any()


def test_bad_options_are_refused_in_one_line(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", tmp_path / "out"]
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "cat.jpg").write_bytes(SAMPLE.calibration.encoded(0))
    assert "EK001 --recipe: there is no recipe 'adam'" in refusal(capsys, "--data", tree, "--recipe", "adam", *output)
    assert "EK001" in refusal(capsys, "--data", tree, "--batch-size", 1, *output)
    assert "EK001" in refusal(capsys, "--data", tree, "--seed", -1, *output)
    assert "EK001 --learning-rate" in refusal(capsys, "--data", tree, "--learning-rate", 0, *FLAGS, *output)
    assert f"EK204 {flat}" in refusal(capsys, "--data", flat, *output)
    assert f"EK204 {flat}" in refusal(capsys, "--data", tree, "--eval", flat, *FLAGS, *output)
    assert "EK201" in refusal(capsys, "--data", tmp_path / "nothing", *output)
    assert "EK301" in refusal(capsys, "--data", tree, "--resume", *FLAGS, *output)
    (tmp_path / "file").write_text("")
    assert "EK003" in refusal(capsys, "--data", tree, "--output", tmp_path / "file", *FLAGS)


def test_evaluation_images_of_other_classes_are_refused(tree: Path, tmp_path: Path) -> None:
    other = write_tree(tmp_path / "other", ["frog", "horse"])
    with pytest.raises(DataError, match="EK207"):
        train_model(TrainRequest(tree, STILL, tmp_path / "out", overrides=SMALL, evaluation=other))
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_other_classes_or_pixels_is_ek303(
    checkpoint: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data", tree, "--epochs", "1", "--teacher", checkpoint, "--output", tmp_path]
    line = refusal(capsys, *command, *FLAGS[:2], "--input-size", "48", *FLAGS[4:])
    assert line.startswith("edgekit: EK303")
    assert "the input size of the teacher is not that of the model" in line
    other = write_tree(tmp_path / "other", ["frog", "deer"])
    assert "the number of classes of the teacher" in refusal(
        capsys, "--data", other, "--epochs", "1", "--teacher", checkpoint, "--output", tmp_path, *FLAGS
    )


def test_a_student_learns_from_a_teacher(checkpoint: Path, tree: Path, tmp_path: Path) -> None:
    taught = train_model(TrainRequest(tree, TRAINED, tmp_path, overrides=SMALL, teacher=checkpoint))
    alone = train_model(TrainRequest(tree, TRAINED, tmp_path / "alone", overrides=SMALL))
    assert taught.history[-1].loss != alone.history[-1].loss
