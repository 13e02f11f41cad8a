"""The decision: what runs in int8, what in float and why, and every scale."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgekit.errors import QuantizationError
from edgekit.quantize._flavour import CPU, Flavour
from edgekit.quantize._graph import editable, given, name_of, node_name
from edgekit.quantize._layers import (
    WEIGHTED,
    Layers,
    bias_of,
    find_layers,
    is_depthwise,
    origin,
    weight_axis,
    weight_of,
)
from edgekit.quantize._parameters import activation_parameters, fit_bias, quantized_weight, weight_parameters, widest
from edgekit.quantize.passes import canonicalise
from edgekit.spec import LayerDecision, Note, Precision, QuantizationParameters, Range


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that is decided about a quantized model before its graph is written.

    Attributes:
        activations: Parameters of each activation that becomes integers, by tensor.
        weights: Parameters of each quantized weight, by initializer.
        integers: The int8 values of each such weight, in its own layout.
        biases: Biases that differ from those of the FP32 model, by node.
        flavour: What the target wants of the graph.
        layers: The precision of every node that computes, in graph order, with the reason.
        absorbed: Relu and Clip nodes that vanish: the scale of their output clips instead.
        notes: What was out of the ordinary.
    """

    activations: Mapping[str, QuantizationParameters]
    weights: Mapping[str, QuantizationParameters]
    integers: Mapping[str, npt.NDArray[np.int8]]
    flavour: Flavour
    layers: tuple[LayerDecision, ...]
    absorbed: tuple[str, ...]
    biases: Mapping[str, npt.NDArray[np.float32]] = dataclasses.field(default_factory=dict)
    notes: tuple[Note, ...] = ()

    @functools.cached_property
    def integer_nodes(self) -> frozenset[str]:
        """Names of the nodes that run in int8."""
        return frozenset(layer.node for layer in self.layers if layer.precision is Precision.INT8)


def tensors_to_calibrate(model: onnx.ModelProto, flavour: Flavour = CPU) -> tuple[str, ...]:
    """Return the activations of an FP32 model whose ranges `plan` needs, in graph order, and no others.

    Raises:
        QuantizationError: EK503 opset below 13, EK504 quantized already, EK505 nothing to quantize.
    """
    layers = canonical(model, flavour)[1]
    return tuple(dict.fromkeys(_representatives(model, layers).values()))


def plan(
    model: onnx.ModelProto,
    ranges: Mapping[str, Range],
    flavour: Flavour = CPU,
    keep_float: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Decide the precision of every node and the parameters of every tensor.

    Args:
        model: FP32 model.
        ranges: The range of each tensor of `tensors_to_calibrate(model)`.
        flavour: What the target wants.
        keep_float: Names of nodes that stay in float, each with the reason.

    Raises:
        QuantizationError: As `tensors_to_calibrate`; EK502 when a tensor has no range.
    """
    graph, layers = canonical(model, flavour, keep_float)
    activations = {}
    for tensor, representative in _representatives(model, layers).items():
        if representative not in ranges:
            raise QuantizationError(
                "EK502",
                "no range was calibrated for this tensor",
                where=representative,
                hint="calibrate it too",
            )
        interval = _within(ranges[representative], layers.quantized[tensor])
        activations[name_of(tensor)] = activation_parameters(interval, symmetric=flavour.symmetric)
    weights, integers, notes = _weights(layers, activations, flavour)
    return Plan(
        activations, weights, integers, flavour, _decisions(graph, layers), _absorbed(graph, layers), notes=notes
    )


def canonical(
    model: onnx.ModelProto, flavour: Flavour = CPU, keep_float: Mapping[str, str] = MappingProxyType({})
) -> tuple[ir.Graph, Layers]:
    """Return an editable copy of the model in canonical form, and what its nodes compute in."""
    graph = editable(model).graph
    canonicalise(graph)
    layers = find_layers(graph, flavour, keep_float)
    if not any(node.op_type in WEIGHTED for node in layers.integer):
        raise QuantizationError(
            "EK505",
            "the model has no convolution or linear layer with constant float32 weights",
            hint="give an FP32 model, with its weights inside",
        )
    return graph, layers


def _representatives(model: onnx.ModelProto, layers: Layers) -> dict[ir.Value, str]:
    """For each quantized tensor, the tensor of the given model whose range it takes.

    Tensors between which values are only moved share one; a canonical form may have made the first of them.
    """
    original = {value.name for value in model.graph.input} | {name for node in model.graph.node for name in node.output}
    groups: dict[ir.Value, list[ir.Value]] = {}
    for value in layers.quantized:
        groups.setdefault(origin(value, layers.quantized), []).append(value)
    result = {}
    for members in groups.values():
        name = next(name_of(member) for member in members if member.name in original)
        result.update(dict.fromkeys(members, name))
    return {value: result[value] for value in layers.quantized}


def _within(interval: Range, limits: Range) -> Range:
    return Range(min(max(interval.low, limits.low), limits.high), max(min(interval.high, limits.high), limits.low))


def _weights(
    layers: Layers, activations: Mapping[str, QuantizationParameters], flavour: Flavour
) -> tuple[dict[str, QuantizationParameters], dict[str, npt.NDArray[np.int8]], tuple[Note, ...]]:
    result: dict[str, QuantizationParameters] = {}
    arrays: dict[str, tuple[npt.NDArray[np.float32], bool]] = {}
    raised_channels: dict[str, int] = {}
    for node in layers.integer:
        if node.op_type not in WEIGHTED:
            continue
        source, weight_value = given(node.inputs[0]), given(node.inputs[1])
        guard = flavour.guards_pairs and not is_depthwise(node)
        parameters, raised = layer_parameters(
            node, weight_of(node), bias_of(node), activations[name_of(source)], flavour
        )
        if raised:
            raised_channels[node_name(node)] = len(raised)
        name = name_of(weight_value)
        result[name] = widest(result[name], parameters) if name in result else parameters
        arrays[name] = weight_of(node), guard
    integers = {
        name: quantized_weight(array, result[name], guard_pairs=guard, largest=flavour.largest_weight)
        for name, (array, guard) in arrays.items()
    }
    return result, integers, (_raised(raised_channels),) if raised_channels else ()


def layer_parameters(
    node: ir.Node,
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32] | None,
    source: QuantizationParameters,
    flavour: Flavour,
) -> tuple[QuantizationParameters, tuple[int, ...]]:
    """Return the parameters of a layer's weight, and the channels whose scale its bias widened."""
    axis = weight_axis(node)
    guard = flavour.guards_pairs and not is_depthwise(node)
    parameters = weight_parameters(weight, axis, guard_pairs=guard, largest=flavour.largest_weight)
    if bias is None or flavour.float_bias:
        return parameters, ()
    (input_scale,) = source.scale
    return fit_bias(parameters, bias, input_scale, weight.size // weight.shape[axis])


def _raised(channels: Mapping[str, int]) -> Note:
    total = sum(channels.values())
    where = ", ".join(f"{name} ({count})" for name, count in channels.items())
    return Note(
        "plan",
        f"{total} channel{'s' if total > 1 else ''} with nearly no weight got a wider weight scale, so that the bias "
        f"fits into int32: {where}",
    )


def _decisions(graph: ir.Graph, layers: Layers) -> tuple[LayerDecision, ...]:
    return tuple(
        LayerDecision(node_name(node), node.op_type, precision, reasons[node])
        for node in graph
        for precision, reasons in (
            (Precision.INT8, layers.integer),
            (Precision.INT8, layers.absorbed),
            (Precision.FLOAT, layers.floating),
        )
        if node in reasons
    )


def _absorbed(graph: ir.Graph, layers: Layers) -> tuple[str, ...]:
    return tuple(node_name(node) for node in graph if node in layers.absorbed)
