"""Where training computes: devices, and several processes that share each batch."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_runs import IMAGES

from edgekit.errors import TrainingError, UsageError
from edgekit.models import Overrides
from edgekit.pipeline.train import TrainRequest, train_model
from edgekit.training import Place, chosen_device, joined
from edgekit.training import recipe as named_recipe

EPOCHS = 4


@given(st.integers(1, 40), st.integers(1, 8))
def test_processes_share_a_batch_equally_and_nothing_twice(length: int, processes: int) -> None:
    places = [Place(rank=rank, processes=processes) for rank in range(processes)]
    shares = [place.share(range(length)) for place in places]
    assert {len(share) for share in shares} == {length // processes}
    together = [index for share in shares for index in share]
    assert sorted(together) == list(range(length // processes * processes))


def test_one_process_has_all_of_it() -> None:
    place = Place()
    assert place.first
    assert place.share([4, 5, 6]) == [4, 5, 6]
    assert place.total(1.5, 2) == (1.5, 2)


@pytest.mark.parametrize(("batch_size", "processes", "better"), [(64, 3, 66), (2, 2, 4), (33, 32, 64)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size: int, processes: int, better: int) -> None:
    with pytest.raises(UsageError) as caught:
        Place(processes=processes).check_batch(batch_size)
    assert caught.value.code == "EK001"
    assert f"such as {better}" in str(caught.value.hint)
    Place(processes=processes).check_batch(better)


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_a_device_that_is_none_is_refused(name: str) -> None:
    if name == "cuda:" and torch.cuda.is_available():
        pytest.skip("that GPU is there")
    with pytest.raises(UsageError) as caught:
        chosen_device(name)
    assert caught.value.code == "EK001"


def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match="torch finds") as caught:
        chosen_device(f"cuda:{count}")
    assert caught.value.code == "EK001"
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("auto").type == ("cuda" if count else "cpu")


def test_processes_that_cannot_be_reached_end_the_run() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    before = dict(os.environ)
    os.environ.update(names)
    try:
        with pytest.raises(TrainingError) as caught, joined("cpu", names, dt.timedelta(seconds=1)):
            pass
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert caught.value.code == "EK304"
    assert "process 1 of 2" in str(caught.value)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images as people have them, a folder for each class."""
    folder = tmp_path_factory.mktemp("processes")
    assert IMAGES.labels is not None
    for index, label in enumerate(IMAGES.labels):
        place = folder / "images" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.png").write_bytes(IMAGES.encoded(index))
    return folder / "images"


def command(data: Path, output: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "edgekit", "train",
        "mobilenet_v1", "--width", "0.25", "--input-size", "32", "--data", str(data), "--eval", str(data),
        "--evaluate-every", str(EPOCHS), "--recipe", "cifar10", "--epochs", str(EPOCHS), "--batch-size", "32",
        "--device", "cpu", "--threads", "1", "--output", str(output), "--json", *options,
    ]  # fmt: skip


def run(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole(data: Path) -> dict[str, Any]:
    """What two processes say that were left alone."""
    told: dict[str, Any] = json.loads(run(command(data, data.parent / "whole")))
    return told


def losses(told: dict[str, Any]) -> list[float]:
    return [result["loss"] for result in told["history"]]


@pytest.mark.slow
def test_two_processes_train_as_one_does(data: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    """Batches are the same; normalisation over half of one, and rounding, are all that differ."""
    recipe = dataclasses.replace(named_recipe("cifar10").lasting(EPOCHS), batch_size=32)
    overrides = Overrides(width=0.25, input_size=32)
    one = train_model(TrainRequest(data, recipe, tmp_path, overrides=overrides, evaluation=data, device="cpu"))
    assert (one.place.processes, whole["processes"]) == (1, 2)
    alone = [result.loss for result in one.history]
    np.testing.assert_allclose(losses(whole), alone, rtol=0.05)
    assert losses(whole) != alone
    assert one.history[-1].evaluated == whole["history"][-1]["evaluated"] == len(IMAGES)
    assert sorted(path.name for path in (data.parent / "whole").iterdir()) == ["model.safetensors", "training.pt"]


@pytest.mark.slow
def test_a_lost_process_ends_the_run_and_resuming_ends_where_it_would_have(
    data: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    arguments = command(data, tmp_path)
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as torchrun:
        while not (tmp_path / "training.pt").exists():
            assert torchrun.poll() is None, torchrun.stderr and torchrun.stderr.read()
            time.sleep(0.02)
        children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        _, told = torchrun.communicate(timeout=120)
    assert torchrun.returncode != 0
    assert "SIGKILL" in told
    resumed = json.loads(run([*arguments, "--resume"]))
    assert losses(resumed) == losses(whole)
    content = [(folder / "model.safetensors").read_bytes() for folder in (tmp_path, data.parent / "whole")]
    assert content[0] == content[1]
