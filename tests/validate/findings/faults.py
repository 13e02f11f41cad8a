"""Quantized models as edgekit makes them, and single faults to break them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from edgekit.calibrate import collect, ranges
from edgekit.data import Batch
from edgekit.export import to_onnx
from edgekit.models.blocks import MobileNet, SqueezeExcitation, Style
from edgekit.quantize import flavour_for, plan, quantize_static, tensors_to_calibrate
from edgekit.results import Diagnosis
from edgekit.spec import CalibrationMethod
from edgekit.validate.findings import diagnose

Floats = npt.NDArray[np.float32]


def quantized(
    model: onnx.ModelProto, images: Floats, flavour: str = "cpu", method: CalibrationMethod = "percentile"
) -> onnx.ModelProto:
    """The model as `edgekit export --quantize static --effort fast` makes it."""
    chosen = flavour_for(flavour)
    summaries = collect(model, np.split(images, len(images)), tensors_to_calibrate(model, chosen))
    found = ranges(summaries, method, symmetric=chosen.symmetric)
    return quantize_static(model, plan(model, found, chosen))[0]


def passes(images: Floats) -> Callable[[], Iterable[Batch]]:
    """Start a pass over the images, as often as wanted."""
    return lambda: [Batch(part, None, ()) for part in np.array_split(images, 2)]


def diagnosed(baseline: onnx.ModelProto, candidate: onnx.ModelProto, images: Floats) -> Diagnosis:
    return diagnose(baseline, candidate, passes(images))


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def constant(model: onnx.ModelProto, name: str) -> npt.NDArray[Any]:
    return numpy_helper.to_array(next(item for item in model.graph.initializer if item.name == name))


def with_constant(model: onnx.ModelProto, name: str, array: npt.ArrayLike) -> onnx.ModelProto:
    """A copy in which one constant has other values of the same type."""
    copy = copied(model)
    item = next(item for item in copy.graph.initializer if item.name == name)
    values = np.asarray(array, dtype=numpy_helper.to_array(item).dtype)
    item.CopyFrom(numpy_helper.from_array(values, name))
    return copy


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    found: onnx.NodeProto
    (found,) = [item for item in model.graph.node if item.name == name]
    return found


def maker(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    found: onnx.NodeProto
    (found,) = [item for item in model.graph.node if tensor in item.output]
    return found


def output_quantizer(model: onnx.ModelProto, layer: str) -> onnx.NodeProto:
    """The QuantizeLinear behind a layer whose activation it absorbed, or behind the image."""
    tensor = layer if layer == model.graph.input[0].name else node(model, layer).output[0]
    found: onnx.NodeProto
    (found,) = [item for item in model.graph.node if item.op_type == "QuantizeLinear" and item.input[0] == tensor]
    return found


def with_output_range(
    model: onnx.ModelProto, layer: str, *, times: float = 1.0, step: float | None = None, zero_point: int | None = None
) -> onnx.ModelProto:
    """Steps of a layer's output as many times as wide, or of a given width, and another zero point."""
    quantize = output_quantizer(model, layer)
    steps = constant(model, quantize.input[1]) * np.float32(times) if step is None else step
    model = with_constant(model, quantize.input[1], steps)
    return model if zero_point is None else with_constant(model, quantize.input[2], zero_point)


def with_weight(
    model: onnx.ModelProto, layer: str, change: Callable[[npt.NDArray[Any]], npt.ArrayLike]
) -> onnx.ModelProto:
    """Other integers for a layer's weight."""
    integers = maker(model, node(model, layer).input[1]).input[0]
    return with_constant(model, integers, change(constant(model, integers)))


def with_one_weight_scale(model: onnx.ModelProto, layer: str) -> onnx.ModelProto:
    """A layer's weight rounded again in steps of its largest channel, for all channels."""
    dequantize = maker(model, node(model, layer).input[1])
    integers, steps = (constant(model, name).astype(np.float64) for name in dequantize.input[:2])
    values = integers * steps.reshape(-1, *[1] * (integers.ndim - 1))
    step = np.abs(values).max() / 127
    model = with_constant(model, dequantize.input[0], np.rint(values / step))
    model = with_constant(model, dequantize.input[1], step)
    return with_constant(model, dequantize.input[2], 0)


def with_bias_moved(model: onnx.ModelProto, layer: str, by: float) -> onnx.ModelProto:
    """A constant added to the bias of every channel."""
    dequantize = maker(model, node(model, layer).input[2])
    integers, steps = (constant(model, name).astype(np.float64) for name in dequantize.input[:2])
    return with_constant(model, dequantize.input[0], np.rint(integers + by / steps))


def with_relu(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with ReLU for ReLU6: another real function, in which channels can be scaled without changing it."""
    copy = copied(model)
    for item in copy.graph.node:
        if item.op_type == "Clip":
            item.op_type = "Relu"
            del item.input[1:]
    return copy


def with_large_channel(model: onnx.ModelProto, layer: str, reader: str, times: float) -> onnx.ModelProto:
    """The same function of a ReLU model, with channel 0 of a layer larger and its reader's weight smaller."""
    for name, index, factor in ((layer, 1, times), (layer, 2, times), (reader, 1, 1 / times)):
        tensor = node(model, name).input[index]
        array = constant(model, tensor).copy()
        array[0] *= np.float32(factor)
        model = with_constant(model, tensor, array)
    return model


def tiny_v3(images: Floats, width: int = 24) -> onnx.ModelProto:
    """Two blocks as in MobileNetV3, one of ReLU and one of hard-swish, whose answers differ between images.

    Weights are random; batch normalisation has the statistics of the images, and the logits their mean and deviation.
    """
    torch.manual_seed(0)
    style = Style("torch", 1e-3, bn_momentum=1.0)
    features = nn.Sequential(
        style.conv_block(3, 16, 3, stride=2, activation=nn.Hardswish),
        style.conv_block(16, 16, 3, groups=16, activation=nn.ReLU),
        SqueezeExcitation(16, 8),
        style.conv_block(16, width),
        style.conv_block(width, 48, activation=nn.Hardswish),
        style.conv_block(48, 48, 3, groups=48, activation=nn.Hardswish),
        style.conv_block(48, 24),
    )
    classifier = nn.Linear(24, 10)
    network = MobileNet(features, classifier)
    with torch.no_grad():
        logits = network.train()(torch.from_numpy(images))
        gain = 2.0 / logits.std(dim=0)
        classifier.bias.copy_((classifier.bias - logits.mean(dim=0)) * gain)
        classifier.weight.mul_(gain[:, None])
    return to_onnx(network.eval(), input_size=images.shape[-1])[0]
