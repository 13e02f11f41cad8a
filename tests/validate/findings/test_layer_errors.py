"""Layer by layer: the error of the whole, the layer's own, and what is gained by running it in float."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from faults import (
    constant,
    copied,
    diagnosed,
    node,
    passes,
    quantized,
    with_constant,
    with_large_channel,
    with_output_range,
    with_relu,
)

from edgekit.data import Batch
from edgekit.errors import ComparisonError, DataError
from edgekit.quantize import comparable_tensors
from edgekit.results import SQNR_LIMIT_DB, LayerError
from edgekit.spec import EQUALIZED_KEY
from edgekit.validate import evaluate_pair, runner, session, tensor_sqnr
from edgekit.validate.findings import PASSES, diagnose

Floats = npt.NDArray[np.float32]
LAYER, NEXT = "features.3.3/Conv", "features.4.0/Conv"


def with_scaled_weight(model: onnx.ModelProto, layer: str, by: float) -> onnx.ModelProto:
    tensor = node(model, layer).input[1]
    return with_constant(model, tensor, constant(model, tensor) * np.float32(by))


def by_name(layers: tuple[LayerError, ...]) -> dict[str, LayerError]:
    return {layer.layer: layer for layer in layers}


def test_error_carried_in_is_not_the_layers_own(fp32: onnx.ModelProto, images: Floats) -> None:
    """In FP32 with one weight changed, only that layer has an error of its own, and all behind it carry it."""
    diagnosis = diagnosed(fp32, with_scaled_weight(fp32, LAYER, 1.1), images)
    layers = by_name(diagnosis.layers)
    changed = layers.pop(LAYER)
    assert changed.own_sqnr_db == pytest.approx(changed.sqnr_db)
    assert changed.own_sqnr_db < 35
    assert all(layer.own_sqnr_db > 100 for layer in layers.values())
    names = [layer.layer for layer in diagnosis.layers]
    for place, name in enumerate(names):
        if name != LAYER:
            assert (diagnosis.layers[place].sqnr_db > 100) == (place < names.index(LAYER))


def test_the_layer_at_fault_restored_gives_back_the_baseline(fp32: onnx.ModelProto, images: Floats) -> None:
    diagnosis = diagnosed(fp32, with_scaled_weight(fp32, LAYER, 1.3), images)
    assert diagnosis.kl > 0.01
    restored = by_name(diagnosis.layers)[LAYER].restored_kl
    assert restored == pytest.approx(0, abs=1e-9)


def test_layers_without_an_error_of_their_own_are_not_tried(fp32: onnx.ModelProto, images: Floats) -> None:
    layers = by_name(diagnosed(fp32, with_scaled_weight(fp32, LAYER, 1.3), images).layers)
    assert {name for name, layer in layers.items() if layer.restored_kl is not None} == {LAYER}


def test_restoring_one_of_two_faults_leaves_the_other(fp32: onnx.ModelProto, images: Floats) -> None:
    other = "features.9.3/Conv"
    one = diagnosed(fp32, with_scaled_weight(fp32, other, 1.3), images)
    both = diagnosed(fp32, with_scaled_weight(with_scaled_weight(fp32, LAYER, 1.3), other, 1.3), images)
    assert by_name(both.layers)[LAYER].restored_kl == pytest.approx(one.kl, rel=1e-6)


def test_a_model_beside_itself_has_lost_nothing(fp32: onnx.ModelProto, images: Floats) -> None:
    diagnosis = diagnosed(fp32, fp32, images)
    assert (diagnosis.images, diagnosis.findings) == (len(images), ())
    assert diagnosis.kl < 1e-9  # onnxruntime may add up in another order where it fuses less.
    assert all(100 < layer.sqnr_db <= SQNR_LIMIT_DB for layer in diagnosis.layers)


@pytest.mark.parametrize("flavour", ["cpu", "openvino", "tensorrt", "tensorrt8"])
def test_the_whole_is_what_onnxruntime_runs(
    flavour: str, fp32: onnx.ModelProto, calibration: Floats, images: Floats
) -> None:
    """The integer kernels of this processor, saturation included: the same SQNR in every layer, and the same KL."""
    candidate = quantized(fp32, calibration, flavour)
    diagnosis = diagnosed(fp32, candidate, images)
    pairs = comparable_tensors(candidate, fp32)
    ratios = dict(zip(pairs, tensor_sqnr(fp32, candidate, tuple(pairs.values()), passes(images)()), strict=True))
    layers = by_name(diagnosis.layers)
    shared = layers.keys() & ratios.keys()
    assert len(shared) == len(layers) - 1  # All but the image.
    for name in shared:
        assert layers[name].sqnr_db == pytest.approx(ratios[name], abs=0.05), name
    first, second = (runner(session(model.SerializeToString())) for model in (fp32, candidate))
    pair = evaluate_pair(first, second, passes(images)())
    assert diagnosis.kl == pytest.approx(float(pair.kl.mean()), rel=0.02)


def test_a_layer_is_named_as_in_the_file_and_keeps_its_operator(
    fp32: onnx.ModelProto, healthy: onnx.ModelProto, images: Floats
) -> None:
    layers = diagnosed(fp32, healthy, images).layers
    assert (layers[0].layer, layers[0].op_type) == ("input", "Input")
    assert [layer.op_type for layer in layers[1:]] == [
        item.op_type for item in healthy.graph.node if item.op_type in {"Conv", "GlobalAveragePool", "Gemm"}
    ]
    assert all(node(healthy, layer.layer).op_type == layer.op_type for layer in layers[1:])


def test_equal_bytes_however_the_images_are_batched(
    v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, small_images: Floats
) -> None:
    images = small_images[24:]
    whole = diagnose(v3, healthy_v3, lambda: [Batch(images, None, ())])
    single = diagnose(v3, healthy_v3, lambda: [Batch(image[None], None, ()) for image in images])
    assert whole == single


def test_progress_counts_every_image_of_every_pass(
    v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, small_images: Floats
) -> None:
    seen: list[int] = []
    diagnose(v3, healthy_v3, passes(small_images[24:]), progress=seen.append)
    assert sum(seen) == PASSES * len(small_images[24:])


def test_channels_that_were_equalized_are_compared_as_they_were_before(
    fp32: onnx.ModelProto, calibration: Floats, images: Floats
) -> None:
    """The accuracy ladder scales channels on purpose and says so in the metadata."""
    baseline = with_relu(fp32)
    scaled = quantized(with_large_channel(baseline, LAYER, NEXT, 3), calibration)
    silent = by_name(diagnosed(baseline, scaled, images).layers)
    telling = copied(scaled)
    telling.metadata_props.add(key=EQUALIZED_KEY, value="channels are scaled")
    diagnosis = diagnosed(baseline, telling, images)
    told = by_name(diagnosis.layers)
    assert silent[LAYER].own_sqnr_db < 20
    assert told[LAYER].own_sqnr_db > 30
    assert told[NEXT].own_sqnr_db == pytest.approx(
        by_name(diagnosed(baseline, quantized(baseline, calibration), images).layers)[NEXT].own_sqnr_db, abs=3
    )
    assert diagnosis.findings == ()
    assert told[LAYER].restored_kl == pytest.approx(diagnosis.kl, rel=1)


def test_a_fault_is_found_among_equalized_channels(fp32: onnx.ModelProto, calibration: Floats, images: Floats) -> None:
    baseline = with_relu(fp32)
    broken = with_output_range(quantized(with_large_channel(baseline, LAYER, NEXT, 3), calibration), LAYER, times=0.2)
    broken.metadata_props.add(key=EQUALIZED_KEY, value="channels are scaled")
    (finding,) = diagnosed(baseline, broken, images).findings
    assert (finding.cause, finding.layer) == ("clipped-range", LAYER)


def with_fixed_batch(model: onnx.ModelProto, size: int) -> onnx.ModelProto:
    fixed = copied(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = size
    del fixed.graph.value_info[:]
    return fixed


def test_a_fixed_batch_size_changes_nothing(
    v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, small_images: Floats
) -> None:
    images = small_images[24:28]
    free = diagnosed(v3, healthy_v3, images)
    fixed = diagnosed(with_fixed_batch(v3, 3), with_fixed_batch(healthy_v3, 3), images)
    assert fixed.images == len(images)
    assert fixed.kl == pytest.approx(free.kl, rel=1e-3)
    for one, other in zip(fixed.layers, free.layers, strict=True):
        assert one.own_sqnr_db == pytest.approx(other.own_sqnr_db, abs=0.01)
        assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=0.01)


def test_two_batch_sizes_are_ek620(v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, small_images: Floats) -> None:
    with pytest.raises(ComparisonError, match="EK620 one model takes 2 images at a time and the other 3"):
        diagnosed(with_fixed_batch(v3, 2), with_fixed_batch(healthy_v3, 3), small_images[24:])


def test_images_of_another_size_are_ek601(v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, images: Floats) -> None:
    with pytest.raises(
        ComparisonError, match=r"EK601 an image of shape \[3, 128, 128\] meets a model for \[3, 32, 32\]"
    ):
        diagnosed(v3, healthy_v3, images)


def test_no_image_is_ek208(v3: onnx.ModelProto, healthy_v3: onnx.ModelProto) -> None:
    with pytest.raises(DataError, match="EK208"):
        diagnose(v3, healthy_v3, list)


def test_answers_without_a_number_are_ek601(
    v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, small_images: Floats
) -> None:
    bias = node(v3, "classifier/Gemm").input[2]
    broken = with_constant(v3, bias, np.full(10, np.nan))
    with pytest.raises(ComparisonError, match="EK602 the candidate gives NaN"):
        diagnosed(v3, broken, small_images[24:])


def test_findings_are_plain_data(v3: onnx.ModelProto, healthy_v3: onnx.ModelProto, small_images: Floats) -> None:
    broken = with_output_range(healthy_v3, "features.2/Mul", times=20)
    facts = dataclasses.asdict(diagnosed(v3, broken, small_images[24:]))
    assert type(facts["findings"][0]["share"]) is float
    assert {type(value) for value in facts["layers"][3].values()} <= {str, float}
