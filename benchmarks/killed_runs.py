"""Runs of one pipeline that are killed at random moments and started again: do they end with the same bytes?

    python benchmarks/killed_runs.py --runs 10

The model that ships goes through pruning, recovery, export, quantization-aware training and validation, with budgets
of seconds. Each run has a folder and a cache of its own and is killed (SIGKILL) once, at a moment drawn evenly from the
time that a run takes alone; then the same command is given again.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from edgekit.data import sample

PIPELINE = """
[run]
threads = 1
[data]
train = "images.zip"
calibration_samples = 24
eval_samples = 40
[prune]
macs = 0.6
widths = "uniform"
importance = "l1"
samples = 32
[recover]
epochs = 3
batch_size = 16
[export]
[quantize]
method = "qat"
effort = "fast"
qat_steps = 60
[validate]
"""
IMAGES = 96


@dataclasses.dataclass(frozen=True)
class Ended:
    """A run that ended by itself: the hash of its files, and the stages that it made."""

    sha256: str
    made: list[str]


def main() -> None:
    """Run the pipeline alone, then kill it again and again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = write_images(folder / "images.zip")
        started = time.monotonic()
        alone = run(pipeline(folder / "alone", images))
        seconds = time.monotonic() - started
        print(f"alone: {seconds:.0f} s, {alone.sha256[:16]}", flush=True)
        moments = random.Random(arguments.seed)
        same = 0
        for number in range(1, arguments.runs + 1):
            path = pipeline(folder / str(number), images)
            moment = moments.uniform(0, seconds)
            kill(path, moment)
            ended = run(path)
            same += ended.sha256 == alone.sha256
            print(
                f"{number}: killed after {moment:.0f} s, then made {', '.join(ended.made)}: {ended.sha256[:16]}",
                flush=True,
            )
        print(f"{same} of {arguments.runs} runs ended with the same bytes")
        sys.exit(same != arguments.runs)


def write_images(path: Path) -> Path:
    """Write some of the images that ship as a labelled archive."""
    images = sample().calibration.spread(IMAGES)
    assert images.labels is not None
    assert images.class_names is not None
    with zipfile.ZipFile(path, "w") as archive:
        for index, label in enumerate(images.labels):
            archive.writestr(f"{images.class_names[label]}/{index:04}.jpg", images.encoded(index))
    return path


def pipeline(folder: Path, images: Path) -> Path:
    """Write the pipeline into a folder of its own."""
    folder.mkdir()
    shutil.copy(images, folder)
    path = folder / "edgekit.toml"
    path.write_text(PIPELINE, encoding="utf-8")
    return path


def kill(path: Path, seconds: float) -> None:
    """Start a run and kill it after some time."""
    with subprocess.Popen(command(path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.kill()


def run(path: Path) -> Ended:
    """Run to the end."""
    done = subprocess.run(command(path), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the run ended with {done.returncode}: {done.stderr}")
    facts: dict[str, Any] = json.loads(done.stdout)
    digest = hashlib.sha256()
    for stage in facts["stages"]:
        for name in sorted(stage["same"]):
            digest.update((Path(stage["folder"]) / name).read_bytes())
    return Ended(digest.hexdigest(), [stage["stage"] for stage in facts["stages"] if stage["made"]])


def command(path: Path) -> list[str]:
    """Return the command line of a run."""
    return [sys.executable, "-m", "edgekit", "run", str(path), "--json"]


if __name__ == "__main__":
    main()
