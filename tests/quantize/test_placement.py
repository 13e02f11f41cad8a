"""What a finished file runs in, told from its structure, is what onnxruntime makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from small_nets import graph, images, mobilenet, observed, weights

from edgekit.quantize import (
    float_compute,
    placement,
    plan,
    quantize_dynamic,
    quantize_static,
    runtime_operators,
    tensors_to_calibrate,
)
from edgekit.spec import Precision


def static(model: onnx.ModelProto) -> onnx.ModelProto:
    return quantize_static(model, plan(model, observed(model, tensors_to_calibrate(model), images(2))))[0]


@pytest.mark.parametrize("act", ["relu6", "hardswish"])
def test_a_static_model_reads_as_it_was_planned(act: str, tmp_path: Path) -> None:
    model = mobilenet(act, squeeze=True)
    decided = plan(model, observed(model, tensors_to_calibrate(model), images(2)))
    wanted = [(layer.node, layer.precision) for layer in decided.layers if layer.node not in decided.absorbed]
    path = tmp_path / "model.onnx"
    onnx.save(quantize_static(model, decided)[0], path)
    assert [(row.node, row.precision) for row in placement(path)] == wanted


def test_a_float_model_is_float_throughout(tmp_path: Path) -> None:
    model = mobilenet()
    assert {row.precision for row in placement(model)} == {Precision.FLOAT}
    assert all("reads" in row.reason for row in placement(model) if row.op_type == "Conv")
    onnx.save(model, tmp_path / "model.onnx")
    assert len(float_compute(runtime_operators(tmp_path / "model.onnx"))) == 10


def test_a_dynamic_model_has_its_linear_layers_in_int8() -> None:
    rows = placement(quantize_dynamic(mobilenet())[0])
    assert {row.op_type for row in rows if row.precision is Precision.INT8} == {"MatMulInteger"}


def test_a_convolution_whose_output_is_not_quantized_is_told_apart() -> None:
    model = static(mobilenet())
    quantizes = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    removed = quantizes[convolution.output[0]]
    dequantize = next(node for node in model.graph.node if removed.output[0] in node.input)
    for node in model.graph.node:
        for index, source in enumerate(node.input):
            if source == dequantize.output[0]:
                node.input[index] = convolution.output[0]
    model.graph.node.remove(removed)
    model.graph.node.remove(dequantize)
    rows = {row.node: row for row in placement(model)}
    assert rows[convolution.name].precision is Precision.FLOAT
    assert "is not quantized" in rows[convolution.name].reason


@pytest.mark.parametrize(("zero_point", "precision"), [(0, Precision.INT8), (5, Precision.FLOAT)])
def test_a_relu_that_the_zero_point_does_counts_as_int8(zero_point: int, precision: Precision) -> None:
    model = graph(
        """agraph (uint8[n,3,4,4] input) => (uint8[n,3,4,4] output) {
            x = DequantizeLinear (input, s, z)
            w = DequantizeLinear (v, s, y)
            a = Conv (x, w)
            r = Relu (a)
            output = QuantizeLinear (r, s, z)
        }""",
        s=np.float32(0.1), z=np.uint8(zero_point), y=np.int8(0),
        v=(weights(3, 3, 1, 1) * 100).astype(np.int8),
    )  # fmt: skip
    assert {row.precision for row in placement(model)} == {precision}
