"""The gate on real weights and photographs: onnxruntime's default int8 of MobileNetV1 does not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from edgekit.data import batches, open_images
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.gate import GateRequest, gate_models
from edgekit.pipeline.sources import Source, open_source
from edgekit.results import GateResult
from edgekit.validate.gate import Limits

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]


class Photographs(CalibrationDataReader):  # type: ignore[misc]
    """A few photographs, as onnxruntime's calibration wants them."""

    def __init__(self, archive: Path, source: Source, count: int) -> None:
        self.name = source.model.graph.input[0].name
        images = open_images(archive, class_names=source.class_names).spread(count)
        self.batches = batches(images, source.preprocessing, 1)

    def get_next(self) -> Any:
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch.images}


@pytest.fixture(scope="module")
def v1(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """MobileNetV1 at a quarter of the width in FP32, and as onnxruntime quantizes it by default: per tensor."""
    folder = tmp_path_factory.mktemp("v1")
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"
    source = open_source(shared_data / "mobilenet_v1_0.25_224_imagenet.safetensors", NO_OVERRIDES, None)
    onnx.save(source.model, fp32)
    quantize_static(fp32, int8, Photographs(shared_data / "imagenet_sample.zip", source, 10))
    quantized = onnx.load(int8)
    if not quantized.metadata_props:  # How images are prepared, which not every version of the tool keeps.
        quantized.metadata_props.extend(source.model.metadata_props)
        onnx.save(quantized, int8)
    return fp32, int8


def gate(baseline: Path, candidate: Path, archive: Path, samples: int) -> GateResult:
    limits = Limits(max_drop=2.0, min_agreement=90.0)
    request = GateRequest(
        str(candidate), str(baseline), limits=limits, evaluation=archive, evaluation_samples=samples, threads=1
    )
    return gate_models(request).result


def test_per_tensor_weights_fail_on_forty_photographs_already(v1: tuple[Path, Path], shared_data: Path) -> None:
    drop, agreement = gate(*v1, shared_data / "imagenet_sample.zip", 40).checks
    assert (drop.outcome, agreement.outcome) == ("fail", "fail")
    assert drop.low > 20
    assert agreement.high < 50


def test_the_float_model_against_itself_passes_on_as_many(v1: tuple[Path, Path], shared_data: Path) -> None:
    result = gate(v1[0], v1[0], shared_data / "imagenet_sample.zip", 10)
    assert {check.reason for check in result.checks} == {"no difference: both are the same model"}
    assert result.outcome == "pass"
