"""edgekit beside onnxruntime.quantization: the same FP32 file, the same images, the same run.

    python benchmarks/peers.py MODEL --calibration IMAGES --eval IMAGES [--calibration-samples 100]

Prints top-1, agreement with FP32 and median time per frame (batch 1, in turns with FP32) of each.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgekit import ExportRequest, export_model
from edgekit.data import ImageSet, batches, open_images
from edgekit.pipeline.job import FP32_FILE, INT8_FILE
from edgekit.pipeline.measuring import measure
from edgekit.results import Latency
from edgekit.spec import Preprocessing
from edgekit.validate import runner, session


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands images one by one to onnxruntime's calibrators."""

    def __init__(self, images: ImageSet, preprocessing: Preprocessing) -> None:
        self._batches: Iterator[np.ndarray] = (batch.images for batch in batches(images, preprocessing))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input, None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"input": batch}


SETTINGS: dict[str, dict[str, object]] = {
    "onnxruntime static, its defaults": {},
    "onnxruntime static, per channel, U8/S8": {"per_channel": True, "activation_type": QuantType.QUInt8},
    "onnxruntime static, per channel, S8 symmetric": {
        "per_channel": True,
        "activation_type": QuantType.QInt8,
        "extra_options": {"ActivationSymmetric": True},
    },
}


def by_onnxruntime(
    fp32: Path, output: Path, images: ImageSet, preprocessing: Preprocessing, settings: dict[str, object]
) -> None:
    """Quantize with onnxruntime's own tool, after its own preparation."""
    prepared = output.with_suffix(".prepared.onnx")
    quant_pre_process(str(fp32), str(prepared))
    quantize_static(
        str(prepared),
        str(output),
        Reader(images, preprocessing),
        quant_format=QuantFormat.QDQ,
        weight_type=QuantType.QInt8,
        **settings,
    )


def main() -> None:
    """Parse, quantize with each, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="MODEL as edgekit export takes it")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--eval", type=Path, required=True, dest="evaluation")
    parser.add_argument("--calibration-samples", type=int, default=100)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        request = ExportRequest(
            arguments.model,
            folder,
            calibration=arguments.calibration,
            calibration_samples=arguments.calibration_samples,
            evaluation=arguments.evaluation,
        )
        export_model(request)
        preprocessing = Preprocessing.from_json((folder / "preprocessing.json").read_text(encoding="utf-8"))
        calibration = open_images(arguments.calibration).spread(arguments.calibration_samples)
        evaluation = open_images(arguments.evaluation).without(calibration)
        candidates = {"edgekit static, its defaults": folder / INT8_FILE}
        for index, (title, settings) in enumerate(SETTINGS.items()):
            path = folder / f"onnxruntime-{index}.onnx"
            by_onnxruntime(folder / FP32_FILE, path, calibration, preprocessing, settings)
            candidates[title] = path
        baseline = runner(session(folder / FP32_FILE))
        for title, path in candidates.items():
            measured = measure(baseline, runner(session(path)), evaluation, preprocessing)
            assert measured.baseline is not None
            assert measured.candidate is not None
            assert measured.drift is not None
            assert isinstance(measured.latency, Latency)
            print(
                f"{title:48} top-1 {measured.candidate.top1:6.2f} % (FP32 {measured.baseline.top1:.2f} %)  "
                f"agreement {measured.drift.agreement.value:6.2f} %  "
                f"speed-up {measured.latency.speedup.value:5.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
