"""What TensorRT's parser accepts and its optimizer fuses, as a property of the graph; TensorRT itself was not run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_nets import images, mobilenet, observed, run, sqnr

from edgekit.quantize import FLAVOURS, plan, quantize_static, tensors_to_calibrate

SYMMETRIC = ("tensorrt", "tensorrt8")


def lowered(name: str, act: str = "relu6", *, squeeze: bool = False) -> onnx.ModelProto:
    model = mobilenet(act, squeeze=squeeze)
    flavour = FLAVOURS[name]
    ranges = observed(model, tensors_to_calibrate(model, flavour), images(8))
    result, _ = quantize_static(model, plan(model, ranges, flavour))
    onnx.checker.check_model(result, full_check=True)
    return result


def producers(model: onnx.ModelProto) -> Mapping[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


def constants(model: onnx.ModelProto) -> Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize(("act", "squeeze"), [("relu6", False), ("hardswish", True)])
def test_every_zero_point_is_there_int8_and_zero_and_every_scale_positive(name: str, act: str, squeeze: bool) -> None:
    model = lowered(name, act, squeeze=squeeze)
    values = constants(model)
    pairs = [node for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    assert pairs
    for node in pairs:
        assert len(node.input) == 3
        zero_point = values[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert (values[node.input[1]].astype(np.float32) > 0).all()


@pytest.mark.parametrize("name", SYMMETRIC)
def test_nothing_stands_between_a_convolution_and_its_activation(name: str) -> None:
    model = lowered(name)
    made_by = producers(model)
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    assert clips
    assert all(made_by[node.input[0]].op_type == "Conv" for node in clips)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_of_a_residual_add_the_identity_alone_is_quantized(name: str) -> None:
    model = lowered(name)
    made_by = producers(model)
    adds = [node for node in model.graph.node if node.op_type == "Add"]
    assert adds
    for node in adds:
        assert sorted(made_by[tensor].op_type for tensor in node.input) == ["Conv", "DequantizeLinear"]


@pytest.mark.parametrize("name", SYMMETRIC)
def test_biases_and_the_answer_are_float_and_every_reader_has_a_pair_of_its_own(name: str) -> None:
    model = lowered(name)
    made_by, values = producers(model), constants(model)
    for node in model.graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            assert made_by[node.input[0]].op_type == made_by[node.input[1]].op_type == "DequantizeLinear"
            assert values[node.input[2]].dtype == np.float32
    assert made_by[model.graph.output[0].name].op_type == "Gemm"
    read = [tensor for node in model.graph.node for tensor in node.input]
    dequantized = [node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert all(read.count(tensor) == 1 for tensor in dequantized)


def test_tensorrt_8_keeps_float_weights_that_round_to_the_same_integers() -> None:
    new, old = lowered("tensorrt"), lowered("tensorrt8")
    batch = images(4)
    assert np.array_equal(run(new, batch), run(old, batch))
    weights = {node.input[0] for node in old.graph.node if node.op_type == "QuantizeLinear"} & constants(old).keys()
    assert len(weights) == sum(node.op_type in {"Conv", "Gemm"} for node in old.graph.node)
    assert old.ByteSize() > 1.5 * new.ByteSize()


def test_squeeze_and_excitation_stays_float_and_says_why() -> None:
    model = mobilenet("relu", squeeze=True)
    flavour = FLAVOURS["tensorrt"]
    decided = plan(model, observed(model, tensors_to_calibrate(model, flavour), images(4)), flavour)
    reasons = {
        layer.reason for layer in decided.layers if layer.op_type in {"Conv", "Mul"} and layer.precision == "float32"
    }
    assert len(reasons) == 2
    assert any("one pixel" in reason for reason in reasons)


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("act", ["relu", "relu6", "hardswish"])
def test_it_answers_like_the_float_model(name: str, act: str) -> None:
    assert sqnr(run(mobilenet(act), images(8)), run(lowered(name, act), images(8))) > 25
