"""Dynamic quantization touches linear layers and nothing else."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from small_nets import exported, graph, images, mobilenet, operators, run, sqnr, weights
from torch import nn

from edgekit.errors import QuantizationError
from edgekit.quantize import quantize_dynamic, runtime_operators, saturates_here
from edgekit.spec import Precision


def test_the_classifier_is_int8_and_convolutions_stay_float_with_the_reason() -> None:
    result, notes, layers = quantize_dynamic(mobilenet())
    onnx.checker.check_model(result, full_check=True)
    assert notes
    assert {layer.op_type for layer in layers if layer.precision is Precision.INT8} == {"Gemm"}
    assert all("slower" in layer.reason for layer in layers if layer.op_type == "Conv")
    assert "ConvInteger" not in operators(result)
    assert "Gemm" not in operators(result)


def test_onnxruntime_runs_each_linear_layer_as_one_kernel(tmp_path: Path) -> None:
    onnx.save(quantize_dynamic(mobilenet())[0], tmp_path / "model.onnx")
    found = [operator.op_type for operator in runtime_operators(tmp_path / "model.onnx")]
    assert found.count("DynamicQuantizeMatMul") == 1
    assert not set(found) & {"MatMulInteger", "Gemm", "DynamicQuantizeLinear"}


def test_it_answers_like_the_float_model() -> None:
    model = mobilenet("hardswish")
    assert sqnr(run(model, images(8)), run(quantize_dynamic(model, guard_pairs=saturates_here())[0], images(8))) > 30


def test_a_matmul_is_quantized_per_column() -> None:
    model = graph(
        "agraph (float[n,4,16] input) => (float[n,4,6] output) { output = MatMul (input, w) }",
        w=weights(16, 6) * 10.0 ** weights(1, 6),
    )
    batch = images(4, 1, 8).reshape(4, 4, 16)
    assert sqnr(run(model, batch), run(quantize_dynamic(model, guard_pairs=saturates_here())[0], batch)) > 35


def test_only_what_was_asked_for_is_quantized() -> None:
    with pytest.raises(QuantizationError, match="EK505"):
        quantize_dynamic(mobilenet(), operators=("MatMul",))


@pytest.mark.parametrize("operator", ["Conv", "LSTM"])
def test_asking_for_anything_else_explains_why_not(operator: str) -> None:
    with pytest.raises(QuantizationError, match="EK501") as raised:
        quantize_dynamic(mobilenet(), operators=("MatMul", operator))
    assert raised.value.where == operator
    assert operator != "Conv" or "twelve times slower" in raised.value.what


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(QuantizationError, match="EK505"):
        quantize_dynamic(exported(nn.Sequential(nn.Conv2d(3, 4, 1))))


def test_a_quantized_model_and_an_old_opset_are_refused() -> None:
    model = mobilenet()
    with pytest.raises(QuantizationError, match="EK504"):
        quantize_dynamic(quantize_dynamic(model)[0])
    model.opset_import[0].version = 12
    with pytest.raises(QuantizationError, match="EK503"):
        quantize_dynamic(model)
