"""edgekit's calibration beside onnxruntime's entropy calibrator: images a second and peak memory, in one run.

    edgekit export mobilenet_v2 --quantize none --eval IMAGES --eval-samples 8 --output exported
    python benchmarks/calibration.py exported/model.fp32.onnx exported/preprocessing.json IMAGES

Every row is a process of its own. All calibrate the same file on the same images, decoded before the clock starts,
up to the ranges of the entropy method; plain inference is the limit. onnxruntime's calibrator runs with its
defaults, by which it takes every tensor, and on the tensors that edgekit takes. The last rows let edgekit decode as
it goes, on few and on many images (the set is repeated where it is too small).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.calibrate import EntropyCalibrater

from edgekit.calibrate import collect, ranges
from edgekit.data import batches, open_images
from edgekit.quantize import tensors_to_calibrate
from edgekit.spec import Preprocessing

_Images: TypeAlias = npt.NDArray[np.float32]
FEW, MANY = 50, 1000


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one process found.

    Attributes:
        rate: Images a second.
        processor: Milliseconds of processor time for each image, of all cores together. Other programs on the
            machine change it less than the rate.
        memory: Peak resident memory in MB.
    """

    rate: float
    processor: float
    memory: float


def by_edgekit(model: Path, images: Iterator[_Images]) -> Callable[[], object]:
    """Collect what edgekit needs, and take the entropy ranges."""
    graph = onnx.load(model)
    tensors = tensors_to_calibrate(graph)
    return lambda: ranges(collect(graph, images, tensors), "entropy")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, images: Iterator[_Images]) -> None:
        self._inputs = ({name: image} for image in images)

    def get_next(self) -> dict[str, _Images] | None:
        return next(self._inputs, None)


class _SameTensors(EntropyCalibrater):  # type: ignore[misc]
    """onnxruntime's calibrator, told to take the tensors that edgekit takes."""

    def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set[str], dict[str, object]]:
        _, information = super().select_tensors_to_calibrate(model)
        return set(tensors_to_calibrate(model)), information


def by_onnxruntime(
    model: Path, images: Iterator[_Images], kind: type[EntropyCalibrater] = EntropyCalibrater
) -> Callable[[], object]:
    """Run onnxruntime's calibrator with its defaults, as its `quantize_static` does."""
    with tempfile.TemporaryDirectory() as folder:
        calibrater = kind(model, augmented_model_path=str(Path(folder) / "augmented.onnx"))
        calibrater.augment_graph()
        calibrater.create_inference_session()
    reader = _Reader(calibrater.infer_session.get_inputs()[0].name, images)

    def calibrate() -> object:
        calibrater.collect_data(reader)
        return calibrater.compute_data()

    return calibrate


def by_inference(model: Path, images: Iterator[_Images]) -> Callable[[], object]:
    """Run the model and keep nothing."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run() -> object:
        for image in images:
            session.run(None, {name: image})
        return None

    return run


# Each prepares, outside of the clock, and returns what is measured.
WAYS: dict[str, Callable[[Path, Iterator[_Images]], Callable[[], object]]] = {
    "plain inference": by_inference,
    "edgekit": by_edgekit,
    "onnxruntime, edgekit's tensors": functools.partial(by_onnxruntime, kind=_SameTensors),
    "onnxruntime": by_onnxruntime,
}


def stream(archive: Path, preprocessing: Preprocessing, count: int) -> Iterator[_Images]:
    """Yield `count` preprocessed images, from the start again where there are fewer."""
    images = open_images(archive)
    repeated = itertools.chain.from_iterable(batches(images, preprocessing) for _ in itertools.count())
    return (batch.images for batch in itertools.islice(repeated, count))


def here(way: str, arguments: argparse.Namespace, count: int, *, decoded: bool) -> Measured:
    """Measure one way in this process."""
    preprocessing = Preprocessing.from_json(arguments.preprocessing.read_text(encoding="utf-8"))
    images = stream(arguments.images, preprocessing, count)
    if decoded:
        images = iter(list(images))
    measured = WAYS[way](arguments.model, images)
    start, processor = time.perf_counter(), time.process_time()
    measured()
    rate = count / (time.perf_counter() - start)
    each = (time.process_time() - processor) / count * 1000
    return Measured(rate, each, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def elsewhere(way: str, arguments: argparse.Namespace, count: int, *, decoded: bool) -> Measured:
    """Measure one way in a process of its own, and print it."""
    paths = [str(path) for path in (arguments.model, arguments.preprocessing, arguments.images)]
    command = [sys.executable, __file__, *paths, "--way", way, "--samples", str(count)]
    done = subprocess.run(
        [*command, *(["--decoded"] if decoded else [])], check=True, stdout=subprocess.PIPE, text=True
    )
    measured = Measured(**json.loads(done.stdout.splitlines()[-1]))
    title = f"{way}, {count} images{'' if decoded else ' decoded as it goes'}"
    print(
        f"{title:45} {measured.rate:7.1f} images/s  {measured.processor:6.1f} ms of processor an image  "
        f"peak {measured.memory:6.0f} MB",
        flush=True,
    )
    return measured


def main() -> None:
    """Measure every way, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="FP32 ONNX file")
    parser.add_argument("preprocessing", type=Path, help="its preprocessing.json")
    parser.add_argument("images", type=Path)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--way", choices=WAYS, help="measure this alone, in this process")
    parser.add_argument("--decoded", action="store_true", help="with --way: decode before the clock starts")
    arguments = parser.parse_args()
    if arguments.way:
        measured = here(arguments.way, arguments, arguments.samples, decoded=arguments.decoded)
        print(json.dumps(dataclasses.asdict(measured)))
        return
    count = arguments.samples
    plain, edgekit, same, peer = (elsewhere(way, arguments, count, decoded=True) for way in WAYS)
    again = elsewhere("edgekit", arguments, count, decoded=True)
    rate, processor = (edgekit.rate + again.rate) / 2, (edgekit.processor + again.processor) / 2
    print(
        f"edgekit is {rate / peer.rate:.1f}x onnxruntime, {rate / same.rate:.1f}x on the same tensors, "
        f"and {rate / plain.rate:.0%} of plain inference; by processor time {peer.processor / processor:.1f}x, "
        f"{same.processor / processor:.1f}x and {plain.processor / processor:.0%}"
    )
    few, many = (elsewhere("edgekit", arguments, count, decoded=False) for count in (FEW, MANY))
    print(f"{MANY} images take {many.memory - few.memory:+.0f} MB beside {FEW}")


if __name__ == "__main__":
    main()
