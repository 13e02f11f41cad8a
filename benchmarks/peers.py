"""edgekit beside its peers: the same FP32 file, the same images, one run.

    python benchmarks/peers.py MODEL --calibration IMAGES --eval IMAGES [--calibration-samples 100]

Quantizes with edgekit (each effort), onnxruntime.quantization (its defaults; per channel with min-max, entropy and
percentile) and, where installed, NNCF (`pip install nncf`). Each quantizes in a process of its own, for its time and
peak memory. Then all files are measured in this process: accuracy and agreement with FP32, and the time of a frame in
turns with FP32, in onnxruntime and, where installed, in OpenVINO (`pip install openvino`). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit import ExportRequest, export_model
from edgekit.data import ImageSet, batches, open_images
from edgekit.pipeline.job import FP32_FILE
from edgekit.pipeline.measuring import first_images, measure
from edgekit.results import Latency
from edgekit.spec import CalibrationMethod, Effort, Preprocessing
from edgekit.validate import runner, session

Quantizer = Callable[[Path, Path, ImageSet, Preprocessing], None]
ROUNDS, FRAMES = 15, 5


def by_edgekit(effort: Effort, target: str = "cpu") -> Quantizer:
    """Quantize with `edgekit export`, without its evaluation."""

    def quantize(fp32: Path, output: Path, images: ImageSet, preprocessing: Preprocessing) -> None:
        from edgekit.calibrate import collect, ranges
        from edgekit.quantize import climb, flavour_for, quantize_static, tensors_to_calibrate

        model, flavour = onnx.load(fp32), flavour_for(target)
        frames = [batch.images for batch in batches(images, preprocessing)]
        summaries = collect(model, frames, tensors_to_calibrate(model, flavour))
        methods: tuple[CalibrationMethod, ...] = ("percentile", "minmax", "mse")
        candidates = {str(method): ranges(summaries, method, symmetric=flavour.symmetric) for method in methods}
        climbed = climb(model, candidates, np.concatenate(frames), flavour, effort=effort)
        for rung in climbed.rungs:
            print(f"    {rung.name:12} {rung.kl:.5f} {rung.seconds:5.1f} s {rung.what} {rung.kept}", file=sys.stderr)
        onnx.save(quantize_static(climbed.model, climbed.plan)[0], output)

    return quantize


def by_onnxruntime(method: str, **settings: Any) -> Quantizer:
    """Quantize with onnxruntime's own tool, after its own preparation."""

    def quantize(fp32: Path, output: Path, images: ImageSet, preprocessing: Preprocessing) -> None:
        from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
        from onnxruntime.quantization import quantize_static as quantize_by_onnxruntime
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._images: Iterator[np.ndarray] = (
                    image[np.newaxis] for batch in batches(images, preprocessing) for image in batch.images
                )

            def get_next(self) -> dict[str, np.ndarray] | None:
                image = next(self._images, None)
                return None if image is None else {"input": image}

        prepared = output.with_suffix(".prepared.onnx")
        quant_pre_process(str(fp32), str(prepared))
        types = {key: getattr(QuantType, value) for key, value in settings.items() if key == "activation_type"}
        quantize_by_onnxruntime(
            str(prepared), str(output), Reader(), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method], **{**settings, **types},
        )  # fmt: skip

    return quantize


def by_nncf(fp32: Path, output: Path, images: ImageSet, preprocessing: Preprocessing) -> None:
    """Quantize with NNCF's defaults for ONNX, which include bias correction."""
    import nncf

    frames = [image[np.newaxis] for batch in batches(images, preprocessing) for image in batch.images]
    data = nncf.Dataset(frames, lambda image: {"input": image})
    onnx.save(nncf.quantize(onnx.load(fp32), data, subset_size=len(frames)), output)


PEERS: dict[str, Quantizer] = {
    "onnxruntime, its defaults": by_onnxruntime("MinMax"),
    "onnxruntime per channel, min-max": by_onnxruntime("MinMax", per_channel=True, activation_type="QUInt8"),
    "onnxruntime per channel, entropy": by_onnxruntime("Entropy", per_channel=True, activation_type="QUInt8"),
    "onnxruntime per channel, percentile": by_onnxruntime("Percentile", per_channel=True, activation_type="QUInt8"),
    "NNCF": by_nncf,
    "edgekit --effort fast": by_edgekit("fast"),
    "edgekit (balanced, the default)": by_edgekit("balanced"),
    "edgekit --effort best": by_edgekit("best"),
    "edgekit --target tensorrt": by_edgekit("balanced", "tensorrt"),
}


@dataclasses.dataclass(frozen=True)
class Quantized:
    """One peer's file, and what making it took: seconds of wall time and megabytes at the peak."""

    path: Path
    seconds: float
    megabytes: float


def quantize_apart(name: str, folder: Path, calibration: Path, samples: int) -> Quantized | None:
    """Quantize in a process of its own; None when the peer is not installed or fails, which is said."""
    output = folder / f"{list(PEERS).index(name)}.onnx"
    command = [sys.executable, __file__, "--one", name, str(folder), str(calibration), str(output), str(samples)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode or not output.exists():
        print(f"{name}: not measured, exit status {done.returncode}", file=sys.stderr)
        return None
    return Quantized(output, **json.loads(done.stdout.splitlines()[-1]))


def one(name: str, folder: Path, calibration: Path, output: Path, samples: int) -> None:
    """Quantize with one peer and print what it took."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    preprocessing = Preprocessing.from_json((folder / "preprocessing.json").read_text(encoding="utf-8"))
    images = open_images(calibration).spread(samples)
    started = time.monotonic()
    PEERS[name](folder / FP32_FILE, output, images, preprocessing)
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def openvino_speedups(baseline: Path, paths: list[Path], frame: np.ndarray) -> list[float | None]:
    """Return FP32 over int8 of each file in OpenVINO, in turns; None where it cannot be run."""
    try:
        import openvino
    except ImportError:
        return [None] * len(paths)
    core = openvino.Core()

    def compiled_for(path: Path) -> Any:
        try:
            model = core.read_model(path)
            model.reshape(list(frame.shape))
            return core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
        except RuntimeError as error:
            print(f"{path.name} in OpenVINO: {str(error).splitlines()[0]}", file=sys.stderr)
            return None

    compiled = [compiled_for(path) for path in [baseline, *paths]]
    times: list[list[float]] = [[] for _ in compiled]
    for _ in range(ROUNDS):
        for index, request in enumerate(compiled):
            turn = []
            for _ in range(FRAMES if request is not None else 0):
                started = time.perf_counter()
                request.infer({0: frame})
                turn.append(time.perf_counter() - started)
            times[index] += [min(turn)] if turn else []
    medians = [float(np.median(turns)) if turns else None for turns in times]
    first = medians[0]
    return [None if first is None or median is None else first / median for median in medians[1:]]


def main() -> None:
    """Parse, quantize with each, measure, print."""
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]), int(sys.argv[6]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="MODEL as edgekit export takes it")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--eval", type=Path, required=True, dest="evaluation")
    parser.add_argument("--calibration-samples", type=int, default=100)
    parser.add_argument("--only", action="append", choices=list(PEERS), help="repeat to name several; default: all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        request = ExportRequest(
            arguments.model, folder, quantize="none", evaluation=arguments.evaluation, evaluation_samples=8
        )
        export_model(request)
        preprocessing = Preprocessing.from_json((folder / "preprocessing.json").read_text(encoding="utf-8"))
        count = arguments.calibration_samples
        evaluation = open_images(arguments.evaluation).without(open_images(arguments.calibration).spread(count))
        found = {peer: quantize_apart(peer, folder, arguments.calibration, count) for peer in arguments.only or PEERS}
        made = {peer: quantized for peer, quantized in found.items() if quantized is not None}
        frame = first_images(evaluation, preprocessing, 1)
        openvino = openvino_speedups(folder / FP32_FILE, [quantized.path for quantized in made.values()], frame)
        print("| | top-1 (FP32) | agreement | KL | bytes | quantizing | peak memory | onnxruntime | OpenVINO |")
        print("|---|---|---|---|---|---|---|---|---|")
        size = (folder / FP32_FILE).stat().st_size
        for (peer, quantized), other in zip(made.items(), openvino, strict=True):
            print(row(peer, quantized, size, folder / FP32_FILE, evaluation, preprocessing, other), flush=True)


def row(
    peer: str,
    quantized: Quantized,
    size: int,
    fp32: Path,
    evaluation: ImageSet,
    preprocessing: Preprocessing,
    openvino: float | None,
) -> str:
    """Measure one file beside FP32 and return its row."""
    measured = measure(runner(session(fp32)), runner(session(quantized.path)), evaluation, preprocessing)
    assert measured.baseline is not None
    assert measured.candidate is not None
    assert measured.drift is not None
    assert isinstance(measured.latency, Latency)
    cells = (
        peer,
        f"{measured.candidate.top1:.2f} % ({measured.baseline.top1:.2f})",
        f"{measured.drift.agreement.value:.2f} %",
        f"{measured.drift.kl.value:.4f}",
        f"{quantized.path.stat().st_size / size:.2f}x",
        f"{quantized.seconds:.0f} s",
        f"{quantized.megabytes:.0f} MB",
        f"{measured.latency.speedup.value:.2f}x",
        "-" if openvino is None else f"{openvino:.2f}x",
    )
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
