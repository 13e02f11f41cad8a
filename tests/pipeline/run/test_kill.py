"""Killed at any moment and run again, a run ends with the same bytes."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pipelines import bytes_of, made, run, write

from edgekit.data import sample

# Every stage that has a state of its own: training, recovery, quantization-aware training.
TRAINED = """\
    [run]
    threads = 1
    [model]
    architecture = "mobilenet_v1"
    width = 0.25
    input_size = 32
    [data]
    train = "images.zip"
    eval = "images.zip"
    calibration = "images.zip"
    calibration_samples = 24
    eval_samples = 20
    [train]
    recipe = "cifar10"
    epochs = 3
    batch_size = 16
    [prune]
    macs = 0.6
    widths = "uniform"
    importance = "l1"
    recover = "bn"
    samples = 32
    [recover]
    epochs = 2
    batch_size = 16
    [quantize]
    method = "qat"
    effort = "fast"
    qat_steps = 8
    """
# benchmarks/killed_runs.py kills ten runs more.
KILLS = 3


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_with_the_same_bytes(
    tmp_path: Path, archive: Callable[..., Path]
) -> None:
    write(tmp_path / "whole", TRAINED)
    killed = write(tmp_path / "killed", TRAINED)
    images = archive(sample().calibration.spread(64), "whole/images.zip")
    shutil.copy(images, killed.parent)
    words = [sys.executable, "-m", "edgekit", "run"]
    started = time.monotonic()
    subprocess.run([*words, str(tmp_path / "whole" / "edgekit.toml")], check=True, capture_output=True)
    whole = time.monotonic() - started
    moments = random.Random(7)
    for _ in range(KILLS):
        with subprocess.Popen([*words, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(moments.uniform(0.05, 0.6) * whole)
            process.kill()
    expected, found = run(tmp_path / "whole" / "edgekit.toml"), run(killed)
    assert made(expected) == []
    assert bytes_of(found) == bytes_of(expected)
    assert {name.split("/")[0] for name in bytes_of(found)} == {"train", "baseline", "prune", "recover", "quantize"}


@pytest.mark.slow
def test_training_goes_on_from_its_last_epoch(tmp_path: Path, archive: Callable[..., Path]) -> None:
    path = write(tmp_path / "here", TRAINED)
    images = archive(sample().calibration.spread(64), "here/images.zip")
    flags = [f"{stage}.enabled=false" for stage in ("prune", "recover", "quantize")]
    words = [word for flag in flags for word in ("--set", flag)]
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit", "run", str(path), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not list(path.parent.glob(".edgekit/work/train-*/result/training.pt")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    (state,) = path.parent.glob(".edgekit/work/train-*/result/training.pt")
    left = state.read_bytes()
    outcome = run(path, *flags)
    assert outcome.stages[0].facts["epochs"] == 3
    # A damaged state cannot be gone on from: training begins again, says so, and ends with the same bytes.
    again = write(tmp_path / "again", TRAINED)
    shutil.copy(images, again.parent)
    work = again.parent / state.relative_to(path.parent)
    work.parent.mkdir(parents=True)
    work.write_bytes(left[: len(left) // 2])
    restarted = run(again, *flags)
    assert any("training began again: the training state is damaged" in note for note in restarted.stages[0].notes)
    assert bytes_of(restarted) == bytes_of(outcome)
