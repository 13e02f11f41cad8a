"""The decision: what runs in int8, what in float and why, and every scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import onnx
import onnx_ir as ir

from edgekit.errors import QuantizationError
from edgekit.quantize._graph import editable, given, name_of, node_name
from edgekit.quantize._layers import WEIGHTED, Layers, bias_of, find_layers, origin, weight_axis, weight_of
from edgekit.quantize._parameters import activation_parameters, fit_bias, weight_parameters, widest
from edgekit.quantize.passes import canonicalise
from edgekit.spec import LayerDecision, Note, Precision, QuantizationParameters, Range


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that is decided about a quantized model before its graph is written.

    Attributes:
        activations: Parameters of each activation that becomes integers, by tensor.
        weights: Parameters of each quantized weight, by initializer.
        layers: The precision of every node that computes, in graph order, with the reason.
        absorbed: Relu and Clip nodes that vanish: the scale of their output clips instead.
        notes: What was out of the ordinary.
    """

    activations: Mapping[str, QuantizationParameters]
    weights: Mapping[str, QuantizationParameters]
    layers: tuple[LayerDecision, ...]
    absorbed: tuple[str, ...]
    notes: tuple[Note, ...] = ()


def tensors_to_calibrate(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the activations of an FP32 model whose ranges `plan` needs, in graph order, and no others.

    Raises:
        QuantizationError: EK503 opset below 13, EK504 quantized already, EK505 nothing to quantize.
    """
    graph, layers = _canonical(model)
    return tuple(dict.fromkeys(_representatives(model, graph, layers).values()))


def plan(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> Plan:
    """Decide the precision of every node and the parameters of every tensor.

    Args:
        model: FP32 model.
        ranges: The range of each tensor of `tensors_to_calibrate(model)`.

    Raises:
        QuantizationError: As `tensors_to_calibrate`; EK502 when a tensor has no range.
    """
    graph, layers = _canonical(model)
    activations = {}
    for tensor, representative in _representatives(model, graph, layers).items():
        if representative not in ranges:
            raise QuantizationError(
                "EK502",
                "no range was calibrated for this tensor",
                where=representative,
                hint="calibrate it too",
            )
        activations[name_of(tensor)] = activation_parameters(_within(ranges[representative], layers.quantized[tensor]))
    weights, notes = _weights(layers, activations)
    return Plan(activations, weights, _decisions(graph, layers), _absorbed(graph, layers), notes)


def _canonical(model: onnx.ModelProto) -> tuple[ir.Graph, Layers]:
    graph = editable(model).graph
    canonicalise(graph)
    layers = find_layers(graph)
    if not any(node.op_type in WEIGHTED for node in layers.integer):
        raise QuantizationError(
            "EK505",
            "the model has no convolution or linear layer with constant float32 weights",
            hint="give an FP32 model, with its weights inside",
        )
    return graph, layers


def _representatives(model: onnx.ModelProto, graph: ir.Graph, layers: Layers) -> dict[ir.Value, str]:
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
    layers: Layers, activations: Mapping[str, QuantizationParameters]
) -> tuple[dict[str, QuantizationParameters], tuple[Note, ...]]:
    result: dict[str, QuantizationParameters] = {}
    raised_channels: dict[str, int] = {}
    for node in layers.integer:
        if node.op_type not in WEIGHTED:
            continue
        source, weight_value = given(node.inputs[0]), given(node.inputs[1])
        weight, bias, axis = weight_of(node), bias_of(node), weight_axis(node)
        parameters = weight_parameters(weight, axis)
        if bias is not None:
            products = weight.size // weight.shape[axis]
            (input_scale,) = activations[name_of(source)].scale
            parameters, raised = fit_bias(parameters, bias, input_scale, products)
            if raised:
                raised_channels[node_name(node)] = len(raised)
        name = name_of(weight_value)
        result[name] = widest(result[name], parameters) if name in result else parameters
    return result, (_raised(raised_channels),) if raised_channels else ()


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
