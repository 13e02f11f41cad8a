"""Training a pruned checkpoint back: in two steps it comes to what pruning and training in one does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from edgekit.data import sample
from edgekit.errors import EdgekitError
from edgekit.pipeline.prune import PruneRequest, prune_model
from edgekit.pipeline.recovery import RecoverRequest, Recovery, recover_model
from edgekit.pruning import Structured
from edgekit.training import recipe

HOW = Recovery(dataclasses.replace(recipe("finetune").lasting(1), batch_size=16))
UNIFORM = Structured("macs", 0.6, importance="l1", widths="uniform")


def test_pruning_and_recovering_in_two_steps_gives_the_weights_of_one(
    narrow: Path, tmp_path: Path, archive: Callable[..., Path]
) -> None:
    images = archive(sample().calibration.spread(48), "images.zip")
    once = PruneRequest(
        str(narrow),
        tmp_path / "once.safetensors",
        "structured",
        UNIFORM,
        None,
        "distill",
        HOW,
        images=images,
        samples=16,
    )
    prune_model(once)
    pruned = tmp_path / "pruned.safetensors"
    prune_model(dataclasses.replace(once, output=pruned, recover="repair", recovery=None))
    recovered = recover_model(
        RecoverRequest(str(narrow), pruned, tmp_path / "twice.safetensors", HOW, images=images)
    ).checkpoint
    first, second = (safetensors.torch.load_file(path) for path in (once.output, recovered))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_single_weights_that_were_pruned_stay_zero(narrow: Path, tmp_path: Path, archive: Callable[..., Path]) -> None:
    images = archive(sample().calibration.spread(48), "images.zip")
    pruned = tmp_path / "pruned.safetensors"
    prune_model(PruneRequest(str(narrow), pruned, "unstructured", None, 0.3, recover="none", images=images, samples=16))
    output = tmp_path / "recovered.safetensors"
    recover_model(RecoverRequest(str(narrow), pruned, output, HOW, from_labels=True, images=images))
    before, after = (safetensors.torch.load_file(path) for path in (pruned, output))
    moved = 0
    for name, tensor in before.items():
        if name.endswith(".weight") and tensor.ndim == 4:
            assert bool((after[name][tensor == 0] == 0).all()), name
            moved += int((after[name] != tensor).sum())
    assert moved > 0


def test_a_model_of_other_classes_needs_images(tmp_path: Path) -> None:
    from edgekit.models import build, save_checkpoint, to_metadata
    from edgekit.spec import ModelSpec, Preprocessing

    spec = ModelSpec("mobilenet_v1", 0.25, 3, 32)
    path = tmp_path / "three.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(spec).eval()
    save_checkpoint(path, module, to_metadata(spec, Preprocessing(32, 32), ("a", "b", "c")))
    with pytest.raises(EdgekitError, match="EK804"):
        recover_model(RecoverRequest(str(path), path, tmp_path / "out.safetensors", HOW))
