"""Files that edgekit, onnxruntime.quantization and NNCF made: what is wrong with them, and what mending gains."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from lint_models import CONV, INPUT, by_onnxruntime, for_tensorrt, net, nncf_file, own, reference
from small_nets import exported, images, mobilenet, run, sqnr, weights

from edgekit.data import Batch
from edgekit.models import build
from edgekit.quantize import comparable_tensors, float_compute, layers_as_run, runtime_operators
from edgekit.quantize.lint import Severity, lint, mend
from edgekit.spec import ModelSpec, Precision
from edgekit.validate import tensor_sqnr


def rules(model: onnx.ModelProto, target: str = "cpu") -> Counter[str]:
    return Counter(finding.rule for finding in lint(model, target) if finding.severity is not Severity.INFO)


def runs(model: onnx.ModelProto, folder: Path) -> dict[str, str]:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return {layer.node: layer.runs_as for layer in layers_as_run(model, runtime_operators(path))}


def float_layers(model: onnx.ModelProto, folder: Path) -> int:
    onnx.save(model, folder / "model.onnx")
    return len(float_compute(runtime_operators(folder / "model.onnx")))


@pytest.mark.parametrize("act", ["relu6", "relu"])
def test_what_edgekit_writes_for_a_cpu_is_clean(act: str) -> None:
    assert rules(own(mobilenet(act))) == Counter()


def test_the_islands_of_hard_swish_are_named() -> None:
    found = [finding for finding in lint(own(mobilenet("hardswish", squeeze=True))) if finding.rule == "EKL102"]
    assert found
    assert all("HardSwish" in finding.what or "HardSigmoid" in finding.what for finding in found)


def test_what_edgekit_writes_for_a_cpu_becomes_fit_for_tensorrt() -> None:
    model = own(mobilenet())
    assert {"EKL205", "EKL209"} <= rules(model, "tensorrt").keys()
    mended, _ = mend(model, "tensorrt")
    assert rules(mended, "tensorrt") == Counter()
    kinds = {tensor.data_type for tensor in mended.graph.initializer}
    assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT8, onnx.TensorProto.INT64}
    assert sqnr(reference(model, images(2)), reference(mended, images(2))) > 25


def test_onnxruntimes_defaults_are_per_tensor_and_signed(tmp_path: Path) -> None:
    model = by_onnxruntime(mobilenet())
    found = rules(model)
    assert (found["EKL206"], found["EKL207"]) == (3, 6)  # depthwise and other convolutions
    assert found["EKL204"] > 10
    assert set(found) == {"EKL204", "EKL206", "EKL207"}
    assert float_layers(model, tmp_path) > 0
    mended, _ = mend(model)
    assert float_layers(mended, tmp_path) == 0
    np.testing.assert_array_equal(reference(mended, images(2)), reference(model, images(2)))


def test_onnxruntimes_settings_for_tensorrt_leave_two_rules(tmp_path: Path) -> None:
    model = for_tensorrt(mobilenet())
    assert set(rules(model, "tensorrt")) == {"EKL101", "EKL106"}
    mended, _ = mend(model, "tensorrt")
    assert rules(mended, "tensorrt") == Counter()
    assert sqnr(reference(model, images(2)), reference(mended, images(2))) > 30


def test_a_file_for_tensorrt_becomes_a_file_for_a_cpu(tmp_path: Path) -> None:
    fp32 = mobilenet()
    model = for_tensorrt(fp32)
    assert {"EKL101", "EKL104", "EKL204", "EKL210"} <= rules(model).keys()
    assert float_layers(model, tmp_path) > 0
    mended, _ = mend(model, "cpu-avx2")
    assert float_layers(mended, tmp_path) == 0
    assert rules(mended) == Counter()
    assert sqnr(run(fp32, images(2)), run(mended, images(2))) > 20


def test_every_layer_of_a_file_by_nncf_runs_in_int8_after_mending(tmp_path: Path) -> None:
    model, fp32 = onnx.load(nncf_file()), mobilenet()
    assert set(rules(model)) == {"EKL109", "EKL203", "EKL204"}
    assert rules(model)["EKL203"] == 3  # It scales what a depthwise convolution reads channel by channel.
    assert float_layers(model, tmp_path) == 7
    mended, notes = mend(model, "cpu-avx2")
    assert {note.source for note in notes} == {"EKL109", "EKL203", "EKL204", "EKL210", "EKL211"}
    assert rules(mended) == Counter()
    assert set(runs(mended, tmp_path).values()) == {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"}
    before, after = (sqnr(run(fp32, images(2)), run(file, images(2))) for file in (model, mended))
    assert after > before - 1


def test_a_real_mobilenet_by_onnxruntime_is_mended(tmp_path: Path) -> None:
    network = build(ModelSpec("mobilenet_v2", width=0.35, num_classes=10, input_size=32))
    model = by_onnxruntime(exported(network))
    assert float_layers(model, tmp_path) > 10
    assert rules(model)["EKL206"] == 17
    assert rules(model)["EKL210"] > 10  # torch lets layers share their zero biases.
    mended, _ = mend(model)
    assert float_layers(mended, tmp_path) == 0


def test_weights_that_cannot_overflow_run_as_the_file_says_on_every_processor() -> None:
    model = by_onnxruntime(mobilenet(), per_channel=True)
    assert rules(model, "cpu-avx2")["EKL211"] > 3
    mended, _ = mend(model, "cpu-avx2")
    assert sqnr(reference(mended, images(2)), run(mended, images(2)) + np.float32(1e-6)) > 40


@pytest.mark.parametrize("quantize", [own, by_onnxruntime, for_tensorrt], ids=["edgekit", "onnxruntime", "tensorrt"])
def test_what_runs_is_told_for_every_layer(quantize: object, tmp_path: Path) -> None:
    assert callable(quantize)
    model = quantize(mobilenet())
    rows = runs(model, tmp_path)
    assert [name for name in rows if name.endswith(("Conv", "Gemm"))]
    assert all(rows.values())
    onnx.save(model, tmp_path / "model.onnx")
    floats = set(float_compute(runtime_operators(tmp_path / "model.onnx")))
    layers = layers_as_run(model, runtime_operators(tmp_path / "model.onnx"))
    heavy = {layer.node for layer in layers if layer.op_type in {"Conv", "Gemm"} and layer.precision is Precision.FLOAT}
    assert heavy == floats


def test_tensors_match_where_a_quantizer_left_out_the_activation() -> None:
    fp32 = net("c = Conv <pads = [1, 1, 1, 1]> (x, f) r = Relu (c) y = HardSigmoid (r)", f=weights(4, 3, 3, 3))
    model = net(f"{CONV} cq = QuantizeLinear (c, cs, z0) cd = DequantizeLinear (cq, cs, z0) y = HardSigmoid (cd)")
    assert comparable_tensors(model, fp32) == {"c": ("r", "cd"), "y": ("y", "y")}


def test_tensors_match_in_files_of_every_tool() -> None:
    fp32 = mobilenet()
    for model in (own(fp32), by_onnxruntime(fp32), for_tensorrt(fp32), onnx.load(nncf_file())):
        pairs = comparable_tensors(model, fp32)
        # Nine convolutions, two sums, the pool and the linear layer, and the activations that the file has.
        assert len(pairs) == 13 + sum(node.op_type == "Clip" for node in model.graph.node)
        batch = images(2)
        (ratio,) = tensor_sqnr(fp32, model, [pairs[next(iter(pairs))]], [Batch(batch, None, (0, 1))])
        assert ratio > 10


def test_a_pool_of_integers_counts_as_int8(tmp_path: Path) -> None:
    pool = "p = MaxPool <kernel_shape = [1, 1]> (xd) pq = QuantizeLinear (p, xs, xz) y = DequantizeLinear (pq, xs, xz)"
    onnx.save(net(f"{INPUT} {pool}", channels=3), tmp_path / "integers.onnx")
    onnx.save(net("y = MaxPool <kernel_shape = [1, 1]> (x)", channels=3), tmp_path / "floats.onnx")
    found = {}
    for name in ("integers", "floats"):
        path = tmp_path / f"{name}.onnx"
        (layer,) = layers_as_run(onnx.load(path), runtime_operators(path))
        found[name] = (layer.runs_as, layer.precision)
    assert found == {"integers": ("MaxPool", Precision.INT8), "floats": ("MaxPool", Precision.FLOAT)}


def test_what_cannot_be_told_is_said_to_be_unknown(tmp_path: Path) -> None:
    onnx.save(net("a = Identity (x) h = HardSigmoid (x) y = Mul (h, a)", channels=3), tmp_path / "model.onnx")
    other = net("g = HardSigmoid (x) y = Mul (g, x)", channels=3)
    rows = layers_as_run(other, runtime_operators(tmp_path / "model.onnx"))
    assert [(row.node, row.runs_as, row.precision) for row in rows] == [
        ("g", "", None),
        ("y", "Mul", Precision.FLOAT),
    ]
    assert "another name" in rows[0].reason
