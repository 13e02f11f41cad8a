"""Real onnxruntime sessions on small real graphs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ComparisonError, ModelError, UsageError
from edgekit.validate import compare_latency, drift, evaluate_pair, latency, runner, session
from edgekit.validate._evaluate import Batch

Array = np.ndarray[Any, Any]
SIZE = 8


def classifier(
    *,
    classes: int = 7,
    size: int = SIZE,
    batch: int | str = "batch",
    seed: int = 0,
    noise: float = 0.0,
    opset: int = 17,
) -> onnx.ModelProto:
    """A convolution, a global average and a fully connected layer with random weights."""
    generator = np.random.default_rng(seed)
    kernel = generator.normal(size=(16, 3, 3, 3)).astype(np.float32)
    matrix = generator.normal(size=(16, classes)).astype(np.float32)
    matrix += noise * np.random.default_rng(seed + 1).normal(size=matrix.shape).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(matrix, "matrix")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def single_node(node: onnx.NodeProto, shape: list[int | str], outputs: int = 1) -> bytes:
    graph = helper.make_graph(
        [node],
        "single",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output[:outputs]],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("elsewhere", 1)]
    content: bytes = helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    return content


def frames(count: int, size: int = SIZE) -> Array:
    return np.random.default_rng(count).normal(size=(count, 3, size, size)).astype(np.float32)


class Labelled:
    def __init__(self, images: Array, labels: Array | None) -> None:
        self.images, self.labels = images, labels


def test_a_session_uses_the_cpu_with_the_threads_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save_model(classifier(), path)
    opened = session(path, threads=1)
    assert opened.get_providers() == ["CPUExecutionProvider"]
    options = opened.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


def test_by_default_a_session_uses_every_core_that_the_process_may() -> None:
    opened = session(classifier().SerializeToString())
    assert opened.get_session_options().intra_op_num_threads == len(os.sched_getaffinity(0))


def test_a_runner_gives_what_the_arithmetic_says() -> None:
    model = classifier()
    kernel, matrix = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer)
    images = frames(3)
    padded = np.pad(images.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    expected = np.einsum("nchwij,ocij->nohw", windows, kernel).mean(axis=(2, 3)) @ matrix
    np.testing.assert_allclose(runner(session(model.SerializeToString()))(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("count", [1, 4, 6])
def test_a_fixed_batch_size_takes_any_number_of_images(batch: int, count: int) -> None:
    images = frames(count)
    free, fixed = (runner(session(classifier(batch=size).SerializeToString())) for size in ("batch", batch))
    np.testing.assert_allclose(fixed(images), free(images), rtol=1e-5, atol=1e-5)


def test_a_model_beside_a_noisy_copy_of_itself_drifts_by_the_noise() -> None:
    baseline, candidate = (runner(session(classifier(noise=noise).SerializeToString())) for noise in (0.0, 0.05))
    labels = baseline(frames(60)).argmax(axis=1)
    batches: list[Batch] = [
        Labelled(frames(60)[start : start + 25], labels[start : start + 25]) for start in (0, 25, 50)
    ]
    pair = evaluate_pair(baseline, candidate, batches)
    found = drift(pair)
    first, second = baseline(frames(60)).astype(np.float64), candidate(frames(60)).astype(np.float64)
    expected = 10 * np.log10(np.square(first).sum() / np.square(first - second).sum())
    assert found.sqnr_db.value == pytest.approx(expected, abs=1e-3)
    assert found.sqnr_db.low < expected < found.sqnr_db.high
    assert pair.baseline.accuracy.top1 == 100.0
    assert pair.candidate.accuracy.top1 == found.agreement.value
    assert pair.candidate.accuracy.top1 == pytest.approx(100.0 * np.mean(second.argmax(axis=1) == labels))


def test_real_time_is_measured_and_a_larger_image_takes_longer() -> None:
    small, large = (runner(session(classifier(size=size).SerializeToString(), threads=1)) for size in (8, 224))
    quick = latency(small, frames(1, 8), frames=20, budget_s=2.0)
    slow = latency(large, frames(1, 224), frames=20, budget_s=2.0)
    assert 0 < quick.frame_ms.p50 <= quick.frame_ms.p90 <= quick.frame_ms.p99
    assert slow.frame_ms.p50 > 3 * quick.frame_ms.p50
    assert quick.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert quick.threads == 1


def test_two_real_models_are_timed_in_turns() -> None:
    narrow, wide = (
        runner(session(classifier(size=96, classes=classes).SerializeToString(), threads=1)) for classes in (2, 9)
    )
    found = compare_latency(wide, narrow, frames(1, 96), frames=20, budget_s=2.0)
    assert found.frames >= 10
    assert found.speedup.low <= found.baseline_ms.p50 / found.candidate_ms.p50 <= found.speedup.high


def test_a_missing_file_is_ek101(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"EK101 .*none\.onnx"):
        session(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no model at all"])
def test_a_file_that_is_not_onnx_is_ek102(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"EK102 .*model\.onnx"):
        session(path)


def test_a_file_cut_short_is_ek104(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier().SerializeToString()[:-100])
    with pytest.raises(ModelError, match="EK104"):
        session(path)


def with_external_weights(folder: Path, location: str) -> Path:
    model = classifier()
    tensor = model.graph.initializer[0]
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(len(content))}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    folder.mkdir(exist_ok=True)
    for place in (folder, folder.parent):
        (place / "weights.bin").write_bytes(content)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    path = with_external_weights(tmp_path / "inner", "weights.bin")
    np.testing.assert_array_equal(
        runner(session(path))(frames(2)), runner(session(classifier().SerializeToString()))(frames(2))
    )


def test_weights_outside_the_folder_of_the_model_are_ek109(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="EK109"):
        session(with_external_weights(tmp_path / "inner", "../weights.bin"))
    with pytest.raises(ModelError, match="EK109"):
        session(with_external_weights(tmp_path / "inner", str(tmp_path / "weights.bin")))


def test_weights_that_are_missing_are_ek104(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="EK104"):
        session(with_external_weights(tmp_path / "inner", "elsewhere.bin"))


def test_an_operator_that_onnxruntime_does_not_have_is_ek108() -> None:
    node = helper.make_node("Enchant", ["input"], ["output"], domain="elsewhere")
    with pytest.raises(ModelError, match=r"EK108 .*elsewhere:Enchant"):
        session(single_node(node, ["batch", 3, 8, 8]))


def test_an_opset_from_the_future_is_ek108() -> None:
    with pytest.raises(ModelError, match="EK108"):
        session(classifier(opset=99).SerializeToString())


def test_a_model_that_does_not_take_rgb_images_is_ek108() -> None:
    with pytest.raises(ModelError, match="EK108 its input is"):
        runner(session(single_node(helper.make_node("Relu", ["input"], ["output"]), ["batch", 8])))
    with pytest.raises(ModelError, match="EK108 its input is"):
        runner(session(single_node(helper.make_node("Relu", ["input"], ["output"]), ["batch", 1, 8, 8])))


def test_a_model_with_two_outputs_is_ek108() -> None:
    node = helper.make_node("Split", ["input"], ["output", "other"], axis=2)
    with pytest.raises(ModelError, match="EK108 it has 1 inputs and 2 outputs"):
        runner(session(single_node(node, ["batch", 3, 8, 8], outputs=2)))


def test_images_of_another_size_are_ek601() -> None:
    with pytest.raises(ComparisonError, match="EK601 images of 3x9x9 meet a model for 3x8x8"):
        runner(session(classifier().SerializeToString()))(frames(1, 9))


def test_models_of_different_sizes_or_classes_are_ek601_before_anything_runs() -> None:
    model = runner(session(classifier().SerializeToString()))
    model.check_comparable(runner(session(classifier(seed=5).SerializeToString())))
    with pytest.raises(ComparisonError, match="EK601"):
        model.check_comparable(runner(session(classifier(size=9).SerializeToString())))
    with pytest.raises(ComparisonError, match="EK601 one model has 7 classes and the other 6"):
        model.check_comparable(runner(session(classifier(classes=6).SerializeToString())))


def failing_on_bright_images() -> onnx.ModelProto:
    """The classifier with a table behind it, read at an index that the brightest value of the images gives."""
    model = classifier()
    model.graph.output[0].name = "sum"
    model.graph.node[-1].output[0] = "logits"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["input"], ["brightest"], keepdims=0),
            helper.make_node("Cast", ["brightest"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["row"]),
            helper.make_node("Add", ["logits", "row"], ["sum"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((5, 7), np.float32), "table"))
    return model


def test_a_model_that_fails_midway_is_ek603_with_the_images_it_failed_on() -> None:
    sound = runner(session(classifier().SerializeToString()))
    failing = runner(session(failing_on_bright_images().SerializeToString()))
    batches = [Labelled(frames(4), None), Labelled(frames(4), None), Labelled(np.full((4, 3, 8, 8), 9, "f4"), None)]
    with pytest.raises(ComparisonError, match=r"EK603 the candidate, images 9 to 12: the model fails while it runs \("):
        evaluate_pair(sound, failing, batches)
    with pytest.raises(ComparisonError, match=r"EK603 the baseline, images 9 to 12: "):
        evaluate_pair(failing, sound, batches)


def test_a_negative_number_of_threads_is_ek001() -> None:
    with pytest.raises(UsageError, match="EK001"):
        session(classifier().SerializeToString(), threads=-1)
