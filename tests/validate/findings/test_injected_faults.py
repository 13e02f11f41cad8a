"""A file is broken in one way, and the diagnosis names cause and layer; without the fault it has no finding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from faults import (
    copied,
    diagnosed,
    quantized,
    with_bias_moved,
    with_large_channel,
    with_one_weight_scale,
    with_output_range,
    with_relu,
    with_weight,
)

from edgekit.quantize import saturates_here
from edgekit.results import Finding
from edgekit.spec import PREPROCESSING_KEY, CalibrationMethod, Preprocessing

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int8]
Break = Callable[[onnx.ModelProto], onnx.ModelProto]

POINTWISE = "features.5.3/Conv"
DEPTHWISE = "features.5.0/Conv"


def without_every_eighth(weight: Integers) -> Integers:
    changed = weight.copy()
    changed[::8] = 0
    return changed


def calibrated_on_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """The image as integers from 0 to 255."""
    return with_output_range(model, "input", step=1.0, zero_point=0)


def calibrated_on_scaled_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """The image in 255 steps from 0 to 1."""
    return with_output_range(model, "input", step=1 / 255, zero_point=0)


# What is done to the file, the cause, the layer, and what the evidence says.
FAULTS: dict[str, tuple[Break, str, str, str]] = {
    "a range of a quarter": (
        lambda model: with_output_range(model, POINTWISE, times=0.25),
        "clipped-range", POINTWISE, "its integers reach from 0 to 1.5 and its values from 0 to 6",
    ),
    "a range forty times as wide": (
        lambda model: with_output_range(model, POINTWISE, times=40),
        "wide-range", POINTWISE, "6 of 255 steps are used",
    ),
    "one weight scale for a depthwise convolution": (
        lambda model: with_one_weight_scale(model, "features.1.0/Conv"),
        "per-tensor-weights", "features.1.0/Conv", "serves 16 filters",
    ),
    "a bias that is off": (
        lambda model: with_bias_moved(model, POINTWISE, 0.5),
        "bias-shift", POINTWISE, "of its own error is one constant a channel",
    ),
    "dead channels of a convolution": (
        lambda model: with_weight(model, POINTWISE, without_every_eighth),
        "dead-channel", POINTWISE, "16 of 128 channels (0, 8, 16, 24, 32, …)",
    ),
    "dead channels of a depthwise convolution": (
        lambda model: with_weight(model, DEPTHWISE, without_every_eighth),
        "dead-channel", DEPTHWISE, "16 of 128 channels (0, 8, 16, 24, 32, …)",
    ),
    "calibrated on pixels from 0 to 255": (
        calibrated_on_pixels,
        "preprocessing-mismatch", "input", "as for pixels from 0 to 255 that nothing was done to",
    ),
    "calibrated on pixels from 0 to 1": (
        calibrated_on_scaled_pixels,
        "preprocessing-mismatch", "input", "as for pixels scaled to 0..1 and not normalised",
    ),
}  # fmt: skip
FAULTS_OF_V3: dict[str, tuple[Break, str, str, str]] = {
    "a hard-swish that begins at zero": (
        lambda model: with_output_range(model, "features.4.2/HardSwish", zero_point=0),
        "hard-swish-tail", "features.4.2/HardSwish", "of its values are below 0 and are cut off (SQNR 0.0 dB)",
    ),
    "a hard-swish with wide steps": (
        lambda model: with_output_range(model, "features.4.2/HardSwish", times=16),
        "hard-swish-tail", "features.4.2/HardSwish", "of its values are below 0 and share 0.",
    ),
    "a gate that is cut off": (
        lambda model: with_output_range(model, "features.2.gate/HardSigmoid", times=0.5),
        "squeeze-excite-product", "features.2.gate/HardSigmoid", "it is the gate of a squeeze-and-excitation block",
    ),
    "a gate with wide steps": (
        lambda model: with_output_range(model, "features.2.gate/HardSigmoid", times=20),
        "squeeze-excite-product", "features.2.gate/HardSigmoid", "it is the gate of a squeeze-and-excitation block",
    ),
    "a product with wide steps": (
        lambda model: with_output_range(model, "features.2/Mul", times=20),
        "squeeze-excite-product", "features.2/Mul", "it is the product of a squeeze-and-excitation block",
    ),
}  # fmt: skip


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name: str, fp32: onnx.ModelProto, healthy: onnx.ModelProto, images: Floats) -> None:
    broken, cause, layer, words = FAULTS[name]
    diagnosis = diagnosed(fp32, broken(healthy), images)
    finding = only(diagnosis.findings)
    assert (finding.cause, finding.layer) == (cause, layer)
    assert words in finding.evidence
    assert finding.share is not None
    assert 50 < finding.share <= 100
    tried = [each for each in diagnosis.layers if each.restored_kl is not None]
    assert min(tried, key=lambda each: each.restored_kl or 0.0).layer == layer


@pytest.mark.parametrize("name", FAULTS_OF_V3)
def test_a_fault_of_v3_is_found(
    name: str, v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, small_images: Floats
) -> None:
    broken, cause, layer, words = FAULTS_OF_V3[name]
    finding = only(diagnosed(v3, broken(healthy_v3), small_images[24:]).findings)
    assert (finding.cause, finding.layer) == (cause, layer)
    assert words in finding.evidence
    assert finding.share is not None
    assert 50 < finding.share <= 100


@pytest.mark.parametrize(("method", "times"), [("minmax", 60), ("percentile", 200), ("mse", 60), ("mse", 200)])
def test_a_channel_much_larger_than_the_others_is_found(
    method: CalibrationMethod, times: float, fp32: onnx.ModelProto, calibration: Floats, images: Floats
) -> None:
    layer, reader = "features.3.3/Conv", "features.4.0/Conv"
    model = with_relu(fp32)
    scaled = with_large_channel(model, layer, reader, times)
    finding = diagnosed(scaled, quantized(scaled, calibration, method=method), images).findings[0]
    assert (finding.cause, finding.layer) == ("outlier-channel", layer)
    assert "channel 0 is" in finding.evidence
    assert finding.share is not None
    assert finding.share > 30


@pytest.mark.parametrize("flavour", ["cpu", "tensorrt", "tensorrt8"])
def test_what_edgekit_makes_has_no_finding(
    flavour: str, fp32: onnx.ModelProto, calibration: Floats, images: Floats
) -> None:
    assert diagnosed(fp32, quantized(fp32, calibration, flavour), images).findings == ()


def test_weights_that_overflow_are_found_where_the_processor_saturates(
    fp32: onnx.ModelProto, calibration: Floats, images: Floats
) -> None:
    """On x86 with VNNI, and elsewhere, the same file is sound."""
    unguarded = quantized(fp32, calibration, "openvino")
    diagnosis = diagnosed(fp32, unguarded, images)
    assert [finding.cause for finding in diagnosis.findings] == (["integer-kernel"] if saturates_here() else [])
    assert (diagnosis.kl > 0.03) == saturates_here()
    assert all(layer.own_sqnr_db > 30 for layer in diagnosis.layers), "the file itself is sound"


@pytest.mark.parametrize("method", ["minmax", "entropy", "mse"])
def test_no_method_of_calibration_is_a_fault(
    method: CalibrationMethod, fp32: onnx.ModelProto, calibration: Floats, images: Floats
) -> None:
    assert diagnosed(fp32, quantized(fp32, calibration, method=method), images).findings == ()


@pytest.mark.parametrize("activation", ["relu", "hard-swish"])
def test_healthy_files_of_other_activations_have_no_finding(
    activation: str,
    fp32: onnx.ModelProto,
    v3: onnx.ModelProto,
    calibration: Floats,
    images: Floats,
    small_images: Floats,
) -> None:
    if activation == "relu":
        model = with_relu(fp32)
        assert diagnosed(model, quantized(model, calibration), images).findings == ()
    else:
        for flavour in ("cpu", "tensorrt"):
            model = quantized(v3, small_images[:24], flavour)
            assert diagnosed(v3, model, small_images[24:]).findings == ()


def test_a_fault_that_costs_nothing_is_no_finding(
    fp32: onnx.ModelProto, healthy: onnx.ModelProto, images: Floats
) -> None:
    """Four times the range, two bits of eight, in one layer of thirty: the answers hardly move."""
    broken = with_output_range(healthy, POINTWISE, times=4)
    diagnosis = diagnosed(fp32, broken, images)
    assert diagnosis.kl < 0.02
    assert diagnosis.findings == ()


def test_two_faults_are_two_findings_the_dearer_first(
    fp32: onnx.ModelProto, healthy: onnx.ModelProto, images: Floats
) -> None:
    broken = with_output_range(healthy, "features.3.3/Conv", times=0.35)
    both = with_weight(broken, "features.9.3/Conv", without_every_eighth)
    findings = diagnosed(fp32, both, images).findings
    assert {(finding.cause, finding.layer) for finding in findings} == {
        ("clipped-range", "features.3.3/Conv"),
        ("dead-channel", "features.9.3/Conv"),
    }
    shares = [finding.share or 0.0 for finding in findings]
    assert shares == sorted(shares, reverse=True)


def test_one_cause_in_several_layers_is_one_finding(
    fp32: onnx.ModelProto, healthy: onnx.ModelProto, images: Floats
) -> None:
    broken = healthy
    for layer in ("features.1.0/Conv", "features.3.0/Conv", "features.5.0/Conv"):
        broken = with_one_weight_scale(broken, layer)
    finding = only(diagnosed(fp32, broken, images).findings)
    assert (finding.cause, finding.layer) == ("per-tensor-weights", "")
    assert finding.evidence.startswith(
        "3 depthwise convolutions with per-tensor weights; the worst is features.1.0/Conv: one weight scale"
    )
    assert finding.share is not None
    assert finding.share > 90


def test_different_preprocessing_in_the_metadata_comes_first(
    fp32: onnx.ModelProto, healthy: onnx.ModelProto, preprocessing: Preprocessing, images: Floats
) -> None:
    other = copied(with_output_range(healthy, POINTWISE, times=0.25))
    (entry,) = [entry for entry in other.metadata_props if entry.key == PREPROCESSING_KEY]
    entry.value = Preprocessing(
        preprocessing.input_size, preprocessing.resize, (0.4, 0.5, 0.5), (0.5, 0.5, 0.5)
    ).to_json()
    first, second = diagnosed(fp32, other, images).findings
    assert (first.cause, first.layer, first.share) == ("preprocessing-mismatch", "", None)
    assert first.evidence.endswith("mean (0.5, 0.5, 0.5) and (0.4, 0.5, 0.5)")
    assert second.cause == "clipped-range"
