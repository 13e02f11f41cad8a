"""How calibration, validation and sweeps scale: what one core takes, measured here, and a model of a cluster of it.

    edgekit export mobilenet_v1.safetensors --quantize none --eval IMAGES --eval-samples 8 --output exported
    python benchmarks/scaling.py exported/model.fp32.onnx exported/preprocessing.json IMAGES

Processor time is measured, not time on the clock: other programs change it less. What no machine here can show, the
network, a store of images, stragglers, is assumed, and every assumption is printed. The work of a cluster is simulated
piece by piece: each goes to the worker that is free first, takes its time times a factor of chance, and is lost now
and then. What the one driver has to do for every piece, and what the store of images delivers, bounds the whole.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import heapq
import math
import operator
import pickle
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import optuna

from edgekit.calibrate import merge
from edgekit.data import ImageSet, open_images
from edgekit.pipeline.cluster import SHARD, ray_workers
from edgekit.pipeline.cluster._calibration import _collect_shard
from edgekit.pipeline.cluster._calibration import _Work as Calibration
from edgekit.pipeline.cluster._validation import _evaluate_shard
from edgekit.pipeline.cluster._validation import _Work as Validation
from edgekit.quantize import flavour_for, tensors_to_calibrate
from edgekit.spec import Preprocessing

IMAGES, TRIALS, WORKERS = 1_281_167, 10_000, (1, 2, 8, 32, 128, 512)
FEW, MORE, EMPTY_TASKS, TOLD = 8, 24, 100, (50, 200, 600)
# Where the whole takes so much longer than work that is spread evenly, it is those who wait for the last that count.
WAITING = 1.25


@dataclasses.dataclass(frozen=True)
class Assumed:
    """What is assumed of a cluster.

    Attributes:
        image_bytes: Mean size of an image file; ImageNet's training set is 138 GiB.
        store_bytes: Bytes a second that the store of images delivers to all workers together (10 Gbit/s).
        driver_bytes: Bytes a second that results reach the driver by (10 Gbit/s).
        spread: Standard deviation of the logarithm of the factor of chance on a piece's time.
        slow: Share of pieces that take `slowness` times as long, on a machine that others use as well.
        slowness: How much longer these take.
        lost: Share of pieces that are lost half way, and begun again.
        trial_calibrates: Images that a trial calibrates on.
        trial_evaluates: Images that a trial is evaluated on, in the mean over those that are stopped early.
    """

    image_bytes: float = 115e3
    store_bytes: float = 1.25e9
    driver_bytes: float = 1.25e9
    spread: float = 0.2
    slow: float = 0.01
    slowness: float = 3.0
    lost: float = 0.001
    trial_calibrates: int = 128
    trial_evaluates: int = 2_000


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of work.

    Attributes:
        name: Its name.
        pieces: Number of pieces.
        piece_s: Seconds of one core for a piece.
        images: Images that a piece reads from the store.
        result_bytes: Bytes that come back of a piece.
        driver_s: Seconds of the driver for the first piece.
        driver_growth_s: Seconds more for each piece that came before.
    """

    name: str
    pieces: int
    piece_s: float
    images: int
    result_bytes: float
    driver_s: float
    driver_growth_s: float = 0.0


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of all threads that some work takes."""
    before = time.process_time()
    work()
    return time.process_time() - before


def repeated(work: Callable[[], None], times: int) -> None:
    """Do the same several times."""
    for _ in range(times):
        work()


def line(few: int, of_few: float, more: int, of_more: float) -> tuple[float, float]:
    """Return start and slope of the line through two points."""
    slope = (of_more - of_few) / (more - few)
    return max(0.0, of_few - slope * few), slope


def measured(function: Callable[[object, ImageSet], object], work: object, images: ImageSet) -> tuple[float, float]:
    """Return the seconds of a shard without images, and of each image in it."""
    function(work, images.spread(2))  # what is done once a process is done
    few, more = (seconds(functools.partial(function, work, images.spread(count))) for count in (FEW, MORE))
    return line(FEW, few, MORE, more)


def study_seconds(folder: Path) -> tuple[float, float]:
    """Return the seconds of asking for and telling one trial in SQLite, and how they grow with each told before."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    points = []
    for told in TOLD:
        study = optuna.create_study(storage=f"sqlite:///{folder / f'{told}.db'}", directions=["minimize"] * 2)
        choices = optuna.distributions.CategoricalDistribution(tuple(range(20)))
        study.add_trials(
            optuna.trial.create_trial(
                params={"a": number % 20, "b": number // 20 % 20}, values=[number % 7, number % 11],
                distributions={"a": choices, "b": choices},
            )
            for number in range(told)
        )  # fmt: skip
        study.sampler = optuna.samplers.NSGAIISampler(seed=0)

        def ask_and_tell(study: optuna.Study = study) -> None:
            trial = study.ask()
            values = [float(trial.suggest_categorical(name, range(20))) for name in "ab"]
            study.tell(trial, values)

        ask_and_tell()
        points.append((told, seconds(functools.partial(repeated, ask_and_tell, 5)) / 5))
    (few, of_few), *_, (more, of_more) = points
    return line(few, of_few, more, of_more)


def empty_task_seconds() -> float:
    """Return the seconds on the clock that Ray takes for a piece without work, on one worker here."""
    with ray_workers(count=1) as workers:
        list(workers.run(operator.add, 0, range(10)))
        before = time.perf_counter()
        list(workers.run(operator.add, 0, range(EMPTY_TASKS)))
        return (time.perf_counter() - before) / EMPTY_TASKS


def simulated(kind: Kind, workers: int, assumed: Assumed) -> float:
    """Return the seconds until the last worker is done."""
    chance = random.Random(0)
    free = [0.0] * min(workers, kind.pieces)
    for _ in range(kind.pieces):
        taken = kind.piece_s * math.exp(chance.gauss(0.0, assumed.spread))
        if chance.random() < assumed.slow:
            taken *= assumed.slowness
        if chance.random() < assumed.lost:
            taken *= 1.5
        heapq.heapreplace(free, free[0] + taken)
    return max(free)


def bounds(kind: Kind, workers: int, assumed: Assumed) -> dict[str, float]:
    """Return the seconds that each part alone would take; the last pieces are what workers wait for at the end."""
    growth = kind.driver_growth_s * kind.pieces * (kind.pieces - 1) / 2
    return {
        "workers": kind.pieces * kind.piece_s / min(workers, kind.pieces),
        "the last pieces": simulated(kind, workers, assumed),
        "image store": kind.pieces * kind.images * assumed.image_bytes / assumed.store_bytes,
        "driver": kind.pieces * kind.driver_s + growth,
        "network of the driver": kind.pieces * kind.result_bytes / assumed.driver_bytes,
    }


def print_table(kind: Kind, assumed: Assumed) -> None:
    """Print a row a number of workers."""
    print(
        f"\n{kind.name}: {kind.pieces:,} pieces of {kind.piece_s:.1f} s, {kind.result_bytes / 1e6:.3f} MB back of each"
    )
    print("\n| workers | time | speed-up | efficiency | bottleneck | in flight |")
    print("|---:|---:|---:|---:|---|---:|")
    alone = bounds(kind, 1, assumed)["the last pieces"]
    for workers in WORKERS:
        parts = bounds(kind, workers, assumed)
        bottleneck = max(parts, key=lambda name: parts[name])
        total = parts[bottleneck]
        if bottleneck == "the last pieces" and total < WAITING * parts["workers"]:
            bottleneck = "workers"
        flying = min(2 * workers, kind.pieces) * kind.result_bytes / 1e6
        print(
            f"| {workers} | {written(total)} | {alone / total:.1f} | {100 * alone / total / workers:.0f} % "
            f"| {bottleneck} | {flying:.1f} MB |"
        )


def written(duration: float) -> str:
    """Return seconds as a person says them."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if duration >= 2 * length:
            return f"{duration / length:.1f} {unit}"
    return f"{duration:.0f} s"


def main() -> None:
    """Measure, then model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("preprocessing", type=Path)
    parser.add_argument("images", type=Path)
    arguments = parser.parse_args()
    blob = arguments.model.read_bytes()
    preprocessing = Preprocessing.from_json(arguments.preprocessing.read_text())
    images = dataclasses.replace(open_images(arguments.images), labels=None)
    tensors = tuple(tensors_to_calibrate(onnx.load(arguments.model), flavour_for("cpu")))
    calibration = Calibration(blob, tensors, preprocessing, len(images))
    validation = Validation(blob, blob, preprocessing, len(images))
    opening, calibrating = measured(_collect_shard, calibration, images)  # type: ignore[arg-type]
    reopening, evaluating = measured(_evaluate_shard, validation, images)  # type: ignore[arg-type]
    part, _ = _collect_shard(calibration, images.spread(FEW))
    result = pickle.dumps(part)
    sent = images.spread(SHARD)

    def merging() -> None:
        again = pickle.loads(result)
        for tensor in tensors:
            merge(again[tensor], part[tensor])

    merge_s = seconds(functools.partial(repeated, merging, 10)) / 10
    row = len(pickle.dumps(_evaluate_shard(validation, images.spread(MORE)))) / MORE
    with tempfile.TemporaryDirectory() as folder:
        study_s, study_growth_s = study_seconds(Path(folder))
    task_s = empty_task_seconds()
    print(f"model: {arguments.model.stat().st_size / 1e6:.1f} MB, {len(tensors)} tensors calibrated")
    print(f"calibration: {1e3 * calibrating:.1f} ms an image, {opening:.2f} s a shard to open the model")
    print(f"evaluation of a pair: {1e3 * evaluating:.1f} ms an image, {reopening:.2f} s a shard to open the models")
    print(f"summaries of a shard: {len(result) / 1e6:.2f} MB, {1e3 * merge_s:.1f} ms to unpack and merge")
    print(f"rows of an evaluated pair: {row:.0f} bytes an image")
    print(f"a shard of {len(sent)} images sent out: {len(pickle.dumps(sent)) / 1e3:.1f} kB")
    print(f"a piece without work through Ray: {1e3 * task_s:.1f} ms on the clock")
    print(f"a trial asked and told: {1e3 * study_s:.1f} ms, and {1e6 * study_growth_s:.1f} µs for each before it")
    assumed = Assumed()
    print(f"assumed: {assumed}")
    shards = math.ceil(IMAGES / SHARD)
    trial_s = opening + assumed.trial_calibrates * calibrating + assumed.trial_evaluates * evaluating / 2
    for kind in (
        Kind("calibration", shards, opening + SHARD * calibrating, SHARD, len(result), merge_s + task_s),
        Kind("validation", shards, reopening + SHARD * evaluating, SHARD, SHARD * row, task_s),
        Kind(
            "sweep", TRIALS, trial_s, assumed.trial_calibrates + assumed.trial_evaluates, 2e3,
            study_s + task_s, study_growth_s,
        ),
    ):  # fmt: skip
        print_table(kind, assumed)


if __name__ == "__main__":
    main()
