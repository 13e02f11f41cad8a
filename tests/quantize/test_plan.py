"""What is decided, and why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_nets import exported, graph, images, mobilenet, observed, weights
from torch import nn

from edgekit.errors import QuantizationError
from edgekit.quantize import Plan, plan, tensors_to_calibrate
from edgekit.spec import Precision, Range


def planned(model: onnx.ModelProto) -> Plan:
    return plan(model, observed(model, tensors_to_calibrate(model), images(4)))


def reasons(result: Plan, precision: Precision) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for layer in result.layers:
        if layer.precision is precision:
            found.setdefault(layer.op_type, set()).add(layer.reason)
    return found


CONV_RELU6 = """
agraph (float[n,3,32,32] input) => (float[n,8,32,32] output) {
    unclipped = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (input, w, b)
    clipped = Clip (unclipped, low, high)
    output = Conv (clipped, v)
}
"""


def conv_relu6(low: float = 0.0, high: float = 6.0) -> onnx.ModelProto:
    return graph(
        CONV_RELU6,
        w=weights(8, 3, 3, 3),
        b=weights(8),
        v=weights(8, 8, 1, 1),
        low=np.float32(low),
        high=np.float32(high),
    )


def test_everything_in_a_mobilenet_with_relu6_runs_in_int8() -> None:
    result = planned(mobilenet())
    assert not reasons(result, Precision.FLOAT)
    assert {"Conv", "Clip", "Add", "GlobalAveragePool", "Gemm"} == set(reasons(result, Precision.INT8))


def test_only_what_is_behind_an_absorbed_activation_is_calibrated() -> None:
    assert tensors_to_calibrate(conv_relu6()) == ("input", "clipped", "output")


def test_the_logits_of_the_classifier_are_not_quantized() -> None:
    tensors = tensors_to_calibrate(mobilenet())
    assert tensors[0] == "input"
    assert "output" not in tensors


def test_an_absorbed_relu6_limits_the_range_and_puts_zero_at_integer_zero() -> None:
    result = plan(conv_relu6(), {"input": Range(-1, 1), "clipped": Range(-0.5, 9.0), "output": Range(-1, 1)})
    parameters = result.activations["clipped"]
    assert parameters.zero_point == (0,)
    assert parameters.scale == pytest.approx((6 / 255,))
    assert result.absorbed == ("Clip_clipped",)
    assert "integers saturate" in reasons(result, Precision.INT8)["Clip"].pop()


def test_a_clip_that_leaves_out_zero_stays() -> None:
    result = planned(conv_relu6(low=1.0))
    assert not result.absorbed
    assert "leave out zero" in reasons(result, Precision.FLOAT)["Clip"].pop()


def test_hard_swish_stays_float_and_is_named() -> None:
    result = planned(mobilenet("hardswish"))
    islands = [layer for layer in result.layers if layer.precision is Precision.FLOAT]
    assert {layer.op_type for layer in islands} == {"HardSwish"}
    assert all(layer.node and "no int8 kernel" in layer.reason for layer in islands)


@pytest.mark.parametrize("opset", [13, 17])
def test_both_ways_to_write_hard_swish_leave_every_convolution_in_int8(opset: int) -> None:
    result = planned(mobilenet("hardswish", squeeze=True, opset=opset))
    assert reasons(result, Precision.FLOAT).keys() <= {"HardSwish", "HardSigmoid", "Mul", "GlobalAveragePool"}
    assert {"Conv", "Gemm"} <= reasons(result, Precision.INT8).keys()


def test_the_multiplication_of_squeeze_and_excitation_runs_in_int8_where_int8_reaches_it() -> None:
    assert "Mul" in reasons(planned(mobilenet("relu", squeeze=True)), Precision.INT8)


def test_batch_normalisation_that_is_not_folded_stays_float_and_its_relu_is_absorbed() -> None:
    model = graph(
        """agraph (float[n,3,32,32] input) => (float[n,8,32,32] output) {
            a = Conv (input, w)
            b = BatchNormalization (a, s, s, s, s)
            c = Relu (b)
            output = Conv (c, v)
        }""",
        w=weights(8, 3, 1, 1),
        v=weights(8, 8, 1, 1),
        s=np.ones(8, np.float32),
    )
    result = planned(model)
    assert reasons(result, Precision.FLOAT).keys() == {"BatchNormalization"}
    assert result.absorbed == ("Relu_c",)


def test_an_activation_whose_input_is_needed_elsewhere_stays() -> None:
    model = graph(
        """agraph (float[n,3,32,32] input) => (float[n,8,32,32] output, float[n,8,32,32] raw) {
            raw = Conv (input, w)
            c = Relu (raw)
            output = Conv (c, v)
        }""",
        w=weights(8, 3, 1, 1),
        v=weights(8, 8, 1, 1),
    )
    result = planned(model)
    assert not result.absorbed
    assert "unclipped elsewhere" in reasons(result, Precision.FLOAT)["Relu"].pop()


def test_operators_outside_the_family_stay_float_and_are_named() -> None:
    result = planned(exported(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 4, 1))))
    assert reasons(result, Precision.FLOAT) == {"Sigmoid": {"edgekit knows no int8 form of Sigmoid"}}


def test_a_channel_without_weight_but_with_a_bias_is_noted_and_its_bias_fits() -> None:
    weight = weights(8, 3, 3, 3)
    weight[2] = 1e-20
    model = conv_relu6()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    result = planned(model)
    assert any("1 channel with nearly no weight" in note.text for note in result.notes)


def test_one_weight_used_by_two_convolutions_has_one_set_of_parameters() -> None:
    model = graph(
        """agraph (float[n,3,32,32] input) => (float[n,3,32,32] output) {
            a = Conv (input, w, b)
            output = Conv (a, w, c)
        }""",
        w=weights(3, 3, 1, 1) * np.float32(1e-9),
        b=np.ones(3, np.float32),
        c=np.full(3, 50, np.float32),
    )
    first = planned(model)
    assert first.weights.keys() == {"w"}
    assert {layer.precision for layer in first.layers} == {Precision.INT8}


@pytest.mark.parametrize(
    ("code", "model"),
    [
        ("EK503", conv_relu6()),
        ("EK504", graph(
            """agraph (float[n,3] input) => (uint8[n,3] output) { output = QuantizeLinear (input, s, z) }""",
            s=np.float32(1), z=np.uint8(0),
        )),
        ("EK505", graph("agraph (float[n,3] input) => (float[n,3] output) { output = Relu (input) }")),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_quantized_is_refused(code: str, model: onnx.ModelProto) -> None:
    if code == "EK503":
        model.opset_import[0].version = 12
    with pytest.raises(QuantizationError) as raised:
        tensors_to_calibrate(model)
    assert raised.value.code == code


def test_a_tensor_without_range_is_named() -> None:
    with pytest.raises(QuantizationError, match="EK502 clipped") as raised:
        plan(conv_relu6(), {"input": Range(-1, 1)})
    assert raised.value.where == "clipped"
