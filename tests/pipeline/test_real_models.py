"""The main job on real ImageNet weights and photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.models import Overrides
from edgekit.pipeline.export import export_model
from edgekit.pipeline.inspect import inspect_model
from edgekit.pipeline.job import ExportRequest
from edgekit.report import Report

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]
Export = Callable[..., Report]
# Half of the height: the ladder is climbed in a third of the time.
SMALL = Overrides(input_size=128)


@pytest.fixture
def export(shared_data: Path, tmp_path: Path) -> Export:
    """Exports MobileNetV1 of a width, calibrated and evaluated on the same archive."""

    def run(width: str, **wanted: object) -> Report:
        archive = shared_data / "imagenet_sample.zip"
        request = ExportRequest(
            shared_data / f"mobilenet_v1_{width}_224_imagenet.safetensors", tmp_path / "out",
            calibration=archive, evaluation=archive, **{"threads": 1, "calibration_samples": 100, **wanted},  # type: ignore[arg-type]
        )  # fmt: skip
        return export_model(request)

    return run


def top1(report: Report) -> tuple[float, float]:
    assert report.fp32.top1 is not None
    assert report.int8 is not None
    assert report.int8.top1 is not None
    return report.fp32.top1, report.int8.top1


def test_mobilenet_v1_at_full_width(export: Export) -> None:
    report = export("1.0", effort="fast", threads=2, calibration_samples=50, evaluation_samples=100)
    fp32, int8 = top1(report)
    assert report.fp32.n == 100
    assert fp32 >= 91
    assert int8 >= 90
    assert report.drift is not None
    # The ladder is climbed on the quarter below; on full width it takes minutes, see benchmarks/peers.py.
    assert report.drift.agreement.value >= 96
    assert report.drift.kl.value < 0.03


def test_mobilenet_v1_at_a_quarter_of_the_width(export: Export) -> None:
    report = export("0.25", calibration_samples=64, evaluation_samples=200)
    assert (report.fp32.n, report.quantization.excluded_from_evaluation) == (200, 64)
    assert 55 <= top1(report)[0] <= 60
    assert report.drift is not None
    # A plain calibration keeps 83 at best, onnxruntime's tool 68, NNCF 78.
    assert report.drift.agreement.value >= 92


def test_fast_runs_every_layer_in_int8(export: Export, tmp_path: Path) -> None:
    report = export("0.25", effort="fast", evaluation_samples=100)
    assert report.quantization.rungs == ()
    assert inspect_model(tmp_path / "out" / "model.int8.onnx").float_compute == ()


def test_without_a_mix_every_layer_is_int8_and_still_nearer_than_fast(export: Export, tmp_path: Path) -> None:
    report = export("0.25", mixed=False, overrides=SMALL, calibration_samples=40, evaluation_samples=100)
    assert report.drift is not None
    assert report.drift.kl.value < 0.06, "fast ends near 0.13"
    assert inspect_model(tmp_path / "out" / "model.int8.onnx").float_compute == ()


def test_the_tensorrt_flavour_keeps_what_int8_around_zero_can(export: Export, tmp_path: Path) -> None:
    report = export("0.25", target="tensorrt", overrides=SMALL, calibration_samples=40, evaluation_samples=100)
    assert report.drift is not None
    assert report.drift.agreement.value >= 86
    assert (tmp_path / "out" / "calibration.tensorrt.txt").read_text().startswith("TRT-")


def test_the_padding_of_the_checkpoint_decides_over_points_of_accuracy(shared_data: Path, tmp_path: Path) -> None:
    """A checkpoint of TensorFlow, padded as torch pads, still runs: it is only worse."""
    found = {}
    for padding in ("tf_same", "torch"):
        request = ExportRequest(
            shared_data / "mobilenet_v1_0.25_224_imagenet.safetensors", tmp_path / padding, quantize="none",
            overrides=Overrides(padding=padding), evaluation=shared_data / "imagenet_sample.zip",
            evaluation_samples=100, threads=1,
        )  # fmt: skip
        found[padding] = export_model(request).fp32.top1
    assert found["tf_same"] is not None
    assert found["torch"] is not None
    assert found["tf_same"] - found["torch"] >= 3
