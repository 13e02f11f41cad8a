"""A graph as the rules read it: conversions between float and integers, and the numbers they hold."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgekit.quantize._graph import MOVES, Names, constant, float_constant, integer
from edgekit.quantize._placement import placement
from edgekit.spec import LayerDecision

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})

Array = npt.NDArray[Any]


class View:
    """A copy of a model, to read and to mend.

    Args:
        model: Any ONNX model; it stays as it is.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._proto = model
        self.model = ir.from_proto(onnx.shape_inference.infer_shapes(model))
        self.graph = self.model.graph
        self.names = Names(self.graph)

    @functools.cached_property
    def decisions(self) -> Mapping[str, LayerDecision]:
        """What each computing node of the model as given runs in, by label."""
        return {decision.node: decision for decision in placement(self._proto)}

    def nodes(self, *op_types: str) -> Iterator[ir.Node]:
        """Yield the nodes of some operators, in graph order; the graph may change meanwhile."""
        yield from [node for node in self.graph if node.op_type in op_types and node.domain in {"", "ai.onnx"}]

    def node(self, name: str) -> ir.Node | None:
        """Return the node of a label, None when there is none any more."""
        return next((node for node in self.graph if label(node) == name), None)

    def quantizers(self) -> Iterator[ir.Node]:
        """Yield the QuantizeLinear nodes of activations."""
        yield from (node for node in self.nodes("QuantizeLinear") if constant(node.inputs[0]) is None)

    def layers(self) -> Iterator[ir.Node]:
        """Yield the layers whose weights are stored as integers, or converted to integers on loading."""
        for node in self.nodes(*LAYERS):
            converted = weight_conversion(node)
            if converted is not None and stored(converted) is not None:
                yield node


def label(node: ir.Node) -> str:
    """Return the name of a node, or of its first output where it has none."""
    return node.name or node.outputs[0].name or node.op_type


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input that may be absent."""
    return node.inputs[index] if len(node.inputs) > index else None


def readers(value: ir.Value) -> tuple[ir.Node, ...]:
    """Return the nodes that read a value."""
    return tuple(use.node for use in value.uses())


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """Return the node that makes a value when it is one of the given operators."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in op_types else None


def dequantizer(value: ir.Value | None) -> ir.Node | None:
    """Return the DequantizeLinear that makes a value, None when something else does."""
    return producer(value, "DequantizeLinear")


def moved_from(value: ir.Value | None) -> ir.Value | None:
    """Return the tensor that a value is after nodes that only move what they read."""
    while (node := producer(value, *MOVES)) is not None:
        value = node.inputs[0]
    return value


def weight_conversion(layer: ir.Node) -> ir.Node | None:
    """Return the DequantizeLinear of a layer's weight, None when the weight is not quantized."""
    return dequantizer(operand(layer, 1))


def bias_conversion(layer: ir.Node) -> ir.Node | None:
    """Return the DequantizeLinear of a layer's bias where it is stored as int32."""
    converted = None if layer.op_type == "MatMul" else dequantizer(operand(layer, 2))
    integers = None if converted is None else constant(converted.inputs[0])
    return converted if integers is not None and integers.dtype == np.int32 else None


def bias_values(layer: ir.Node) -> Array | None:
    """Return the bias of a layer in real values, stored in whatever way; None when it has none or computes it."""
    bias = None if layer.op_type == "MatMul" else moved_from(operand(layer, 2))
    converted = dequantizer(bias)
    return constant(bias) if converted is None else real(converted)


def pair(node: ir.Node) -> tuple[ir.Node, ...] | None:
    """Return a QuantizeLinear and the DequantizeLinear nodes behind it, None when others read its integers too."""
    integers = node.outputs[0]
    behind = readers(integers)
    if integers.is_graph_output() or not behind or any(reader.op_type != "DequantizeLinear" for reader in behind):
        return None
    return (node, *behind)


def scale(conversion: ir.Node) -> npt.NDArray[np.float64] | None:
    """Return the scales of a conversion, one or one a channel; None when they are computed."""
    array = constant(conversion.inputs[1])
    return None if array is None else array.astype(np.float64).reshape(-1)


def zero_point(conversion: ir.Node) -> npt.NDArray[np.int64] | None:
    """Return the zero points of a conversion, 0 where there is none; None when they are computed."""
    value = operand(conversion, 2)
    if value is None:
        return np.zeros(1, np.int64)
    array = constant(value)
    return None if array is None else array.astype(np.int64).reshape(-1)


def integer_type(conversion: ir.Node) -> np.dtype[Any] | None:
    """Return the type of the integers on the one side of a conversion, None when it is not known."""
    integers = conversion.outputs[0] if conversion.op_type == "QuantizeLinear" else conversion.inputs[0]
    for value in (operand(conversion, 2), integers):
        if value is not None and value.dtype is not None:
            return value.dtype.numpy()
        array = constant(value)
        if array is not None:
            return array.dtype
    output_type = integer(conversion, "output_dtype", 0)
    if output_type:
        return ir.DataType(output_type).numpy()
    return np.dtype(np.uint8) if conversion.op_type == "QuantizeLinear" else None


def same_parameters(first: ir.Node, second: ir.Node) -> bool:
    """Tell whether two conversions have equal constant scales and zero points of one type."""
    arrays = [(scale(node), zero_point(node)) for node in (first, second)]
    if any(array is None for pair_ in arrays for array in pair_) or integer_type(first) != integer_type(second):
        return False
    return all(np.array_equal(one, other) for one, other in zip(*arrays, strict=True))


def channel_axis(conversion: ir.Node, rank: int) -> int:
    """Return the axis that scales of a tensor of some rank lie along."""
    return integer(conversion, "axis", 1) % max(rank, 1)


def along(vector: Array, conversion: ir.Node, rank: int) -> Array:
    """Return scales or zero points in a shape that broadcasts with the tensor that they are of."""
    if vector.size == 1:
        return vector.reshape(())
    shape = [1] * rank
    shape[channel_axis(conversion, rank)] = vector.size
    return vector.reshape(shape)


def stored(conversion: ir.Node) -> Array | None:
    """Return the constant integers that a DequantizeLinear reads, None when they are computed from data.

    Weights may also be kept in float32, with a QuantizeLinear before the DequantizeLinear.
    """
    integers = constant(conversion.inputs[0])
    if integers is not None:
        return integers
    quantize = producer(conversion.inputs[0], "QuantizeLinear")
    if quantize is None:
        return None
    floats, steps, zeros = float_constant(quantize.inputs[0]), scale(quantize), zero_point(quantize)
    kind = integer_type(quantize)
    if floats is None or steps is None or zeros is None or kind is None or not np.all(steps > 0):
        return None if floats is None else np.zeros(floats.shape, kind)
    exact = floats / along(steps, quantize, floats.ndim) + along(zeros, quantize, floats.ndim)
    limits = np.iinfo(kind)
    return np.clip(np.rint(exact), limits.min, limits.max).astype(kind)


def real(conversion: ir.Node) -> npt.NDArray[np.float64] | None:
    """Return the values that the stored integers of a DequantizeLinear stand for."""
    integers, steps, zeros = stored(conversion), scale(conversion), zero_point(conversion)
    if integers is None or steps is None or zeros is None:
        return None
    centred = integers.astype(np.float64) - along(zeros, conversion, integers.ndim)
    values: npt.NDArray[np.float64] = centred * along(steps, conversion, integers.ndim)
    return values


def is_depthwise(layer: ir.Node) -> bool:
    """Tell whether a convolution has one input channel a group."""
    groups = integer(layer, "group", 1) if layer.op_type == "Conv" else 1
    shape = None if layer.inputs[1] is None else layer.inputs[1].shape
    converted = weight_conversion(layer)
    integers = None if converted is None else stored(converted)
    width = integers.shape[1] if integers is not None else (shape[1] if shape is not None else None)
    return groups > 1 and width == 1


def is_non_negative(value: ir.Value | None) -> bool:
    """Tell whether a value can be seen from the graph never to be below zero."""
    node = None if value is None else value.producer()
    if node is None:
        return False
    if node.op_type in {"Relu", "Sigmoid", "HardSigmoid", "Softmax"}:
        return True
    if node.op_type == "Clip":
        low = constant(operand(node, 1))
        return low is not None and float(low.reshape(())) >= 0
    if node.op_type == "DequantizeLinear" and _starts_at_zero(node):
        return True
    if node.op_type in MOVES | {"MaxPool", "GlobalAveragePool", "AveragePool", "DequantizeLinear", "QuantizeLinear"}:
        return _keeps_sign(node) and is_non_negative(node.inputs[0])
    return False


def _starts_at_zero(conversion: ir.Node) -> bool:
    """Whether the smallest integer stands for zero."""
    kind, zeros = integer_type(conversion), zero_point(conversion)
    return kind is not None and zeros is not None and bool(np.all(zeros == np.iinfo(kind).min))


def _keeps_sign(node: ir.Node) -> bool:
    """Whether integers below the zero point do not turn up where there were none."""
    if node.op_type not in CONVERSIONS:
        return True
    steps = scale(node)
    return steps is not None and bool(np.all(steps > 0)) and zero_point(node) is not None
