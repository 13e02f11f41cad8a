"""Q/DQ files that onnxruntime.quantization and NNCF made, and pairs of models that cannot be matched."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from faults import diagnosed, quantized, tiny_v3
from onnxruntime.quantization import CalibrationDataReader, QuantFormat
from onnxruntime.quantization import quantize_static as quantize

from edgekit.data import batches, open_images
from edgekit.errors import ComparisonError
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.sources import open_source
from edgekit.results import Cause, Diagnosis

Floats = npt.NDArray[np.float32]
NNCF = Path(__file__).parents[2] / "quantize" / "lint" / "nncf_mobilenet.onnx"


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands over one image at a time."""

    def __init__(self, name: str, images: Floats) -> None:
        self._feeds: Iterator[dict[str, Floats]] = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._feeds, None)


def by_onnxruntime(model: onnx.ModelProto, images: Floats, folder: Path, **options: Any) -> onnx.ModelProto:
    """The model quantized by onnxruntime, with its defaults apart from `options`."""
    source, made = folder / "fp32.onnx", folder / "int8.onnx"
    onnx.save(model, source)
    logging.disable(logging.WARNING)  # It advises to preprocess the model, on the root logger.
    try:
        quantize(source, made, Reader(model.graph.input[0].name, images), **options)
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(made)


def causes(diagnosis: Diagnosis) -> set[Cause]:
    """Causes in the file; that this processor's kernels may saturate, which edgekit guards against, is none of them."""
    return {finding.cause for finding in diagnosis.findings} - {"integer-kernel"}


def test_the_default_of_onnxruntime_has_per_tensor_depthwise_weights(
    fp32: onnx.ModelProto, calibration: Floats, images: Floats, tmp_path: Path
) -> None:
    diagnosis = diagnosed(fp32, by_onnxruntime(fp32, calibration, tmp_path), images)
    found = [finding for finding in diagnosis.findings if finding.cause == "per-tensor-weights"]
    depthwise = found[0]
    assert "depthwise convolutions with per-tensor weights; the worst is features." in depthwise.evidence
    assert "EKL206" in depthwise.fix
    assert causes(diagnosis) <= {"per-tensor-weights"}


def test_per_channel_weights_have_no_finding(
    fp32: onnx.ModelProto, calibration: Floats, images: Floats, tmp_path: Path
) -> None:
    candidate = by_onnxruntime(fp32, calibration, tmp_path, per_channel=True)
    assert causes(diagnosed(fp32, candidate, images)) == set()


def test_every_layer_of_a_file_for_tensorrt_is_matched(
    fp32: onnx.ModelProto, calibration: Floats, images: Floats, tmp_path: Path
) -> None:
    """Here convolution and activation are quantized one after the other: both together are a layer."""
    extra = {
        "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
        "AddQDQPairToWeight": True, "DedicatedQDQPair": True,
    }  # fmt: skip
    candidate = by_onnxruntime(fp32, calibration, tmp_path, per_channel=True, extra_options=extra)
    diagnosis = diagnosed(fp32, candidate, images)
    computing = [item for item in candidate.graph.node if item.op_type in {"Conv", "GlobalAveragePool", "Gemm"}]
    assert len(diagnosis.layers) == 1 + len(computing)
    assert all(layer.own_sqnr_db > 25 for layer in diagnosis.layers)
    assert causes(diagnosis) == set()


def test_every_layer_of_a_file_by_nncf_is_matched() -> None:
    """It scales what depthwise convolutions read channel by channel, and corrects biases."""
    from small_nets import images, mobilenet

    diagnosis = diagnosed(mobilenet(), onnx.load(NNCF), images(4))
    assert len(diagnosis.layers) == 14
    assert all(layer.own_sqnr_db > 30 for layer in diagnosis.layers)
    assert diagnosis.findings == ()


def test_the_operator_format_is_ek620(
    fp32: onnx.ModelProto, calibration: Floats, images: Floats, tmp_path: Path
) -> None:
    candidate = by_onnxruntime(fp32, calibration[:2], tmp_path, quant_format=QuantFormat.QOperator)
    with pytest.raises(ComparisonError, match="EK620 no layer of the candidate has the name"):
        diagnosed(fp32, candidate, images)


def test_another_width_is_ek620(v3: onnx.ModelProto, small_images: Floats) -> None:
    """The names of its tensors match, their shapes do not."""
    narrow = tiny_v3(small_images[:24], width=16)
    with pytest.raises(ComparisonError, match=r"EK620 layer features\.3\.0/Conv gives \[1, 16, 16, 16\] numbers"):
        diagnosed(v3, narrow, small_images[24:])


@pytest.mark.shared_data
@pytest.mark.slow
def test_imagenet_mobilenet_by_onnxruntimes_default(shared_data: Path, tmp_path: Path) -> None:
    """It classifies nothing any more; most of that comes back when the depthwise convolutions run in float."""
    source = open_source(shared_data / "mobilenet_v1_0.25_224_imagenet.safetensors", NO_OVERRIDES, None)
    photographs = open_images(shared_data / "imagenet_sample.zip")
    calibration, images = (
        np.concatenate([batch.images for batch in batches(photographs.select(chosen), source.preprocessing, 8)])
        for chosen in (range(0, 500, 20), range(7, 500, 62))
    )
    diagnosis = diagnosed(source.model, by_onnxruntime(source.model, calibration, tmp_path), images)
    first = diagnosis.findings[0]
    assert diagnosis.kl > 2
    assert first.cause == "per-tensor-weights"
    assert first.evidence.startswith("13 depthwise convolutions with per-tensor weights")
    assert first.share is not None
    assert first.share > 60
    sound = quantized(source.model, calibration)
    assert diagnosed(source.model, sound, images).findings == ()
