"""The Q/DQ graph: what is in it, what onnxruntime makes of it, and that its numbers are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from small_nets import Array, exported, graph, images, mobilenet, observed, operators, run, sqnr, weights
from torch import nn

from edgekit.quantize import (
    FLAVOURS,
    Plan,
    flavour_for,
    float_compute,
    plan,
    quantize_static,
    runtime_operators,
    tensors_to_calibrate,
)
from edgekit.spec import Range


def quantized(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Plan]:
    decided = plan(
        model, observed(model, tensors_to_calibrate(model), images(8, size=_size(model))), flavour_for("cpu")
    )
    result, notes = quantize_static(model, decided)
    onnx.checker.check_model(result, full_check=True)
    assert notes
    return result, decided


def _size(model: onnx.ModelProto) -> int:
    return int(model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value)


def run_by_onnxruntime(model: onnx.ModelProto, folder: Path) -> list[str]:
    path = folder / "model.onnx"
    onnx.save(model, path)
    found = runtime_operators(path)
    assert not float_compute(found)
    return [operator.op_type for operator in found]


def test_the_graph_of_convolution_relu6_and_residual() -> None:
    model = graph(
        """agraph (float[n,3,32,32] input) => (float[n,3,32,32] output) {
            a = Conv (input, w, b)
            r = Clip (a, low, high)
            d = Conv <group = 3> (r, v)
            output = Add (r, d)
        }""",
        w=weights(3, 3, 1, 1), b=weights(3), v=weights(3, 1, 1, 1),
        low=np.float32(0), high=np.float32(6),
    )  # fmt: skip
    result, _ = quantized(model)
    assert operators(result) == [
        "QuantizeLinear", "DequantizeLinear",  # input
        "DequantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear",  # weight, bias
        "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear",
        "Add", "QuantizeLinear", "DequantizeLinear",
    ]  # fmt: skip
    assert [output.name for output in result.graph.output] == ["output"]
    constants = {tensor.name for tensor in result.graph.initializer}
    assert not {"w", "b", "v", "low", "high"} & constants


@pytest.mark.parametrize("act", ["relu6", "relu"])
@pytest.mark.parametrize("opset", [13, 21])
def test_onnxruntime_runs_nothing_in_float(act: str, opset: int, tmp_path: Path) -> None:
    model = mobilenet(act, opset=min(opset, 20))
    if opset == 21:
        model = onnx.version_converter.convert_version(model, 21)
    result, _ = quantized(model)
    assert set(run_by_onnxruntime(result, tmp_path)) == {
        "QuantizeLinear", "QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "Flatten", "QGemm",
    }  # fmt: skip
    assert run_by_onnxruntime(result, tmp_path).count("QuantizeLinear") == 1


def test_neither_does_it_at_its_default_level(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    content = quantized(mobilenet())[0].SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = set(operators(onnx.load(tmp_path / "optimized.onnx")))
    assert not found & {"Conv", "FusedConv", "Gemm", "Add", "GlobalAveragePool", "Clip", "Relu"}


def test_hard_swish_and_squeeze_leave_no_convolution_in_float(tmp_path: Path) -> None:
    found = run_by_onnxruntime(quantized(mobilenet("hardswish", squeeze=True))[0], tmp_path)
    assert {"QLinearConv", "QGemm", "HardSigmoid"} <= set(found)


@pytest.mark.parametrize(
    ("act", "squeeze"), [("relu6", False), ("relu", True), ("hardswish", False), ("hardswish", True)]
)
def test_the_int8_model_answers_like_the_float_model(act: str, *, squeeze: bool) -> None:
    model = mobilenet(act, squeeze=squeeze)
    batch = images(8)
    assert sqnr(run(model, batch), run(quantized(model)[0], batch)) > 20


def test_a_convolution_is_exact_to_the_bit() -> None:
    model = graph(
        """agraph (float[n,3,8,8] input) => (float[n,8,4,4] output) {
            output = Conv <kernel_shape = [3,3], pads = [0,0,1,1], strides = [2,2]> (input, w, b)
        }""",
        w=weights(8, 3, 3, 3),
        b=weights(8),
    )
    # Eight bits, and exact even where `pmaddubsw` saturates, because neighbours are kept small enough together.
    decided = plan(model, {"input": Range(-2, 3), "output": Range(-1, 2)}, FLAVOURS["cpu-avx2"])
    assert max(np.abs(values).max() for values in decided.integers.values()) > 100
    result, _ = quantize_static(model, decided)
    batch = images(4, size=8)
    assert np.array_equal(run(result, batch), _reference(result, batch))


def _reference(model: onnx.ModelProto, batch: Array) -> Array:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scale = {name: constants[f"{name}_scale"] for name in ("input", "output", "w")}
    zero = {name: int(constants[f"{name}_zero_point"]) for name in ("input", "output")}
    x = np.clip(np.rint(batch / scale["input"]) + zero["input"], 0, 255).astype(np.int64)
    x = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=zero["input"]) - zero["input"]
    bias = next(array for name, array in constants.items() if name.endswith("bias_quantized"))
    total = np.zeros((len(batch), 8, 4, 4), np.int64) + bias[None, :, None, None]
    kernel = constants["w_quantized"].astype(np.int64)
    for row in range(3):
        for column in range(3):
            part = x[:, :, row : row + 7 : 2, column : column + 7 : 2]
            total += np.einsum("nchw,oc->nohw", part, kernel[:, :, row, column])
    factor = (scale["input"] * scale["w"] / scale["output"]).astype(np.float32)[None, :, None, None]
    integers = np.clip(np.rint(total.astype(np.float32) * factor) + zero["output"], 0, 255)
    result: Array = ((integers - zero["output"]) * scale["output"]).astype(np.float32)
    return result


def test_metadata_opset_names_and_dynamic_batch_survive() -> None:
    model = mobilenet()
    model.metadata_props.add(key="preprocessing", value="{}")
    model.doc_string = "a model"
    result, _ = quantized(model)
    assert [(entry.key, entry.value) for entry in result.metadata_props] == [("preprocessing", "{}")]
    assert result.doc_string == "a model"
    assert [(entry.domain, entry.version) for entry in result.opset_import] == [("", 17)]
    assert result.ir_version == model.ir_version
    assert (result.graph.input[0].name, result.graph.output[0].name) == ("input", "output")
    assert result.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert run(result, images(3)).shape == (3, 10)


def test_the_model_that_was_given_is_not_changed_and_the_result_is_the_same_every_time() -> None:
    model = mobilenet()
    before = model.SerializeToString(deterministic=True)
    first, _ = quantized(model)
    second, _ = quantized(model)
    assert model.SerializeToString(deterministic=True) == before
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_the_file_is_about_a_quarter_of_the_float_one() -> None:
    model = exported(nn.Sequential(nn.Conv2d(3, 256, 1), nn.ReLU(), nn.Conv2d(256, 256, 3)))
    assert quantized(model)[0].ByteSize() < model.ByteSize() / 3.8


def test_channels_with_no_weight_keep_their_bias() -> None:
    weight, bias = weights(8, 3, 1, 1), np.linspace(-2, 2, 8, dtype=np.float32)
    weight[3], weight[5] = 0, 1e-30
    model = graph(
        "agraph (float[n,3,32,32] input) => (float[n,8,32,32] output) { output = Conv (input, w, b) }",
        w=weight,
        b=bias,
    )
    result, decided = quantized(model)
    step = decided.activations["output"].scale[0]
    assert run(result, images(2))[:, [3, 5]] == pytest.approx(run(model, images(2))[:, [3, 5]], abs=step)
    assert min(decided.weights["w"].scale) > 0


@pytest.mark.parametrize("transposed", [0, 1])
def test_both_orientations_of_gemm_are_quantized_per_output(transposed: int, tmp_path: Path) -> None:
    weight = weights(16, 6) * np.geomspace(0.01, 1, 6, dtype=np.float32)
    model = graph(
        f"""agraph (float[n,3,32,32] input) => (float[n,6] output) {{
            a = Conv (input, w)
            p = GlobalAveragePool (a)
            f = Flatten (p)
            output = Gemm <transB = {transposed}> (f, g, b)
        }}""",
        w=weights(16, 3, 1, 1),
        g=weight.T.copy() if transposed else weight,
        b=weights(6),
    )
    result, decided = quantized(model)
    assert len(decided.weights["g"].scale) == 6
    assert "QGemm" in run_by_onnxruntime(result, tmp_path)
    assert sqnr(run(model, images(8)), run(result, images(8))) > 25


def test_other_ways_to_write_a_classifier_become_integer_too(tmp_path: Path) -> None:
    model = graph(
        """agraph (float[n,3,8,8] input) => (float[n,6] output) {
            padded = Pad (input, pads)
            a = Conv <kernel_shape = [3,3], strides = [2,2]> (padded, w)
            p = ReduceMean <axes = [2,3], keepdims = 0> (a)
            m = MatMul (p, g)
            output = Add (m, b)
        }""",
        w=weights(16, 3, 3, 3), g=weights(16, 6), b=weights(6),
        pads=np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64),
    )  # fmt: skip
    assert tensors_to_calibrate(model) == ("input", "a", "p")
    result, _ = quantized(model)
    assert set(run_by_onnxruntime(result, tmp_path)) == {
        "QuantizeLinear", "QLinearConv", "QLinearGlobalAveragePool", "Flatten", "QGemm",
    }  # fmt: skip
    assert sqnr(run(model, images(8, size=8)), run(result, images(8, size=8))) > 25


def test_a_tensor_that_is_an_output_and_is_read_keeps_its_name_and_value() -> None:
    model = graph(
        """agraph (float[n,3,32,32] input) => (float[n,8,32,32] middle, float[n,8,32,32] last) {
            middle = Conv (input, w)
            last = Conv (middle, v)
        }""",
        w=weights(8, 3, 1, 1),
        v=weights(8, 8, 1, 1),
    )
    result, _ = quantized(model)
    assert [output.name for output in result.graph.output] == ["middle", "last"]


def test_weights_that_are_listed_as_inputs_and_shared_are_quantized_once() -> None:
    model = graph(
        """agraph (float[n,3,32,32] input, float[3,3,1,1] w) => (float[n,3,32,32] output) {
            a = Conv (input, w)
            b = Relu (a)
            output = Conv (b, w)
        }""",
        w=weights(3, 3, 1, 1),
    )
    result, _ = quantized(model)
    assert [value.name for value in result.graph.input] == ["input"]
    assert sum(tensor.data_type == onnx.TensorProto.INT8 and tensor.name == "w_quantized"
               for tensor in result.graph.initializer) == 1  # fmt: skip
    assert sqnr(run(model, images(4)), run(result, images(4))) > 25


@pytest.mark.parametrize(("mode", "filler"), [("constant", 1.0), ("reflect", 0.0)])
def test_padding_that_is_not_zeros_stays_a_node_and_the_convolution_is_int8(
    mode: str, filler: float, tmp_path: Path
) -> None:
    model = graph(
        f"""agraph (float[n,3,8,8] input) => (float[n,8,8,8] output) {{
            padded = Pad <mode = "{mode}"> (input, pads, filler)
            output = Conv <kernel_shape = [3,3]> (padded, w)
        }}""",
        w=weights(8, 3, 3, 3),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        filler=np.float32(filler),
    )
    result, _ = quantized(model)
    assert "Pad" in operators(result)
    assert "QLinearConv" in run_by_onnxruntime(result, tmp_path)
    assert sqnr(run(model, images(4, size=8)), run(result, images(4, size=8))) > 25
