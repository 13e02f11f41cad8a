"""A canonical graph run by torch, node by node, in float or with the rounding of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx
import onnx_ir as ir
import torch
import torch.nn.functional as F
from onnx.reference import ReferenceEvaluator

from edgekit.quantize._graph import constant, given, integer, integers, name_of, node_name, number
from edgekit.quantize._layers import WEIGHTED, weight_axis
from edgekit.quantize._parameters import from_rows, rows_of
from edgekit.quantize._plan import Plan
from edgekit.spec import QuantizationParameters

Inputs = Sequence[torch.Tensor | None]
# Images that run at once: enough to keep the cores busy, few enough for their largest tensors to stay small.
CHUNK = 16
LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}


class Rounding(Protocol):
    """What integers make of activations, weights and biases."""

    def activation(self, value: ir.Value, tensor: torch.Tensor) -> torch.Tensor:
        """Return an activation as its quantizer leaves it."""

    def layer(self, node: ir.Node) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the weight and the bias of a node, None for what stays as it is."""


class Planned:
    """The rounding of a finished plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def activation(self, value: ir.Value, tensor: torch.Tensor) -> torch.Tensor:
        """Return an activation as its quantizer leaves it."""
        return rounded(tensor, self._plan.activations.get(name_of(value)))

    def layer(self, node: ir.Node) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the weight that the plan's integers stand for and the bias it wants."""
        return planned(node, self._plan)


class Network:
    """A graph that computes node by node.

    Args:
        graph: Canonical FP32 graph with one image input and one output that counts, the first.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.nodes = [node for node in graph if node.op_type != "Constant"]
        self.input = graph.inputs[0]
        self.output = graph.outputs[0]
        # A model with a fixed batch size may hold it in a Reshape, so that it cannot run another.
        batch = self.input.shape[0] if self.input.shape is not None and len(self.input.shape) else None
        self.chunk = batch if isinstance(batch, int) and batch > 0 else CHUNK
        self._constants: dict[ir.Value, torch.Tensor] = {}

    def constant(self, value: ir.Value) -> torch.Tensor | None:
        """Return a constant as a tensor, None for a value that is computed."""
        if value not in self._constants:
            array = constant(value)
            if array is None:
                return None
            self._constants[value] = torch.from_numpy(np.array(array))
        return self._constants[value]

    def run(
        self,
        images: torch.Tensor,
        rounding: Rounding | None = None,
        watch: Callable[[ir.Value, torch.Tensor], None] = lambda value, tensor: None,
    ) -> torch.Tensor:
        """Return the first output for images (N, C, H, W), in float or as integers would compute it.

        Args:
            images: Model input, float32.
            rounding: Rounds activations, weights and biases; None computes in float.
            watch: Called with every value and its tensor, before it is rounded.
        """
        values: dict[ir.Value, torch.Tensor] = {self.input: images}
        watch(self.input, images)
        if rounding is not None:
            values[self.input] = rounding.activation(self.input, images)
        for node, last in zip(self.nodes, self.last_uses(), strict=True):
            weight, bias = (None, None) if rounding is None else rounding.layer(node)
            result = compute(node, self.inputs(node, values), weight, bias)
            output = node.outputs[0]
            watch(output, result)
            values[output] = result if rounding is None else rounding.activation(output, result)
            for value in last:
                values.pop(value, None)
        return values[self.output]

    def inputs(self, node: ir.Node, values: Mapping[ir.Value, torch.Tensor]) -> list[torch.Tensor | None]:
        """Return what a node reads: constants, values computed so far, None for an input that is absent."""
        return [None if value is None else values.get(value, self.constant(value)) for value in node.inputs]

    def last_uses(self) -> list[list[ir.Value]]:
        """Return, for each node, the values that nobody reads after it."""
        last = {value: index for index, node in enumerate(self.nodes) for value in node.inputs if value is not None}
        last.pop(self.output, None)
        result: list[list[ir.Value]] = [[] for _ in self.nodes]
        for value, index in last.items():
            result[index].append(value)
        return result


def planned(node: ir.Node, plan: Plan) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the weight that the plan's integers stand for and the bias it wants, None where it changes nothing."""
    if node.op_type not in WEIGHTED:
        return None, None
    bias = plan.biases.get(node_name(node))
    weight = None
    if node_name(node) in plan.integer_nodes:
        name = name_of(given(node.inputs[1]))
        weight = torch.from_numpy(dequantized_weight(plan.integers[name], plan.weights[name], weight_axis(node)))
    return weight, None if bias is None else torch.tensor(bias)


def dequantized_weight(
    values: np.ndarray[tuple[int, ...], np.dtype[np.int8]], parameters: QuantizationParameters, axis: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the real weights that integers stand for, float32 in their own layout."""
    rows = rows_of(values, axis).astype(np.float32) * np.asarray(parameters.scale, np.float32)[:, np.newaxis]
    return from_rows(rows, values.shape, axis).astype(np.float32)


def rounded(values: torch.Tensor, parameters: QuantizationParameters | None) -> torch.Tensor:
    """Return values as a per-tensor quantizer leaves them; unchanged without parameters."""
    if parameters is None:
        return values
    (scale,), (zero_point,) = parameters.scale, parameters.zero_point
    # One pass over memory; it multiplies by the inverse where `codes` divides, which moves a tie at most.
    return torch.fake_quantize_per_tensor_affine(values, scale, zero_point, *LIMITS[parameters.dtype])


def codes(values: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the integers of values, as torch.uint8 or torch.int8."""
    (scale,), (zero_point,) = parameters.scale, parameters.zero_point
    low, high = LIMITS[parameters.dtype]
    dtype = torch.uint8 if parameters.dtype == "uint8" else torch.int8
    return values.div(scale).round_().add_(zero_point).clamp_(low, high).to(dtype)


def real(integers: torch.Tensor, parameters: QuantizationParameters) -> torch.Tensor:
    """Return the real values of integers."""
    (scale,), (zero_point,) = parameters.scale, parameters.zero_point
    return integers.float().sub_(zero_point).mul_(scale)


def compute(
    node: ir.Node, inputs: Inputs, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the output of one node.

    Args:
        node: Node of a canonical graph; one that torch is not told about below runs in ONNX's reference.
        inputs: What it reads.
        weight: Stands in for its weight.
        bias: Stands in for its bias.
    """
    if node.op_type in WEIGHTED:
        return _weighted(node, inputs, weight, bias)
    known = _OPERATORS.get(node.op_type)
    return _reference(node, inputs) if known is None else known(node, inputs)


def _weighted(node: ir.Node, inputs: Inputs, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    values = _present(inputs[0])
    weight = _present(inputs[1]) if weight is None else weight
    if bias is None and len(inputs) > 2:
        bias = inputs[2]
    if node.op_type == "Conv":
        top, left, bottom, right = padding_of(node)
        symmetric = (top, left) == (bottom, right)
        if not symmetric:
            values = F.pad(values, (left, right, top, bottom))
        return F.conv2d(
            values, weight, bias, integers(node, "strides", (1, 1)), (top, left) if symmetric else 0,
            integers(node, "dilations", (1, 1)), integer(node, "group", 1),
        )  # fmt: skip
    if node.op_type == "Gemm":
        weight = weight if integer(node, "transB", 0) else weight.T
        return F.linear(values, weight, None if bias is None else bias.reshape(-1))
    return values @ weight


def padding_of(node: ir.Node) -> tuple[int, int, int, int]:
    """Return the zeros that a convolution adds at the top, left, bottom and right."""
    top, left, bottom, right = integers(node, "pads", (0, 0, 0, 0))
    return top, left, bottom, right


def _present(value: torch.Tensor | None) -> torch.Tensor:
    if value is None:
        raise ValueError("a node lacks an input that its operator requires")
    return value


def _clip(node: ir.Node, inputs: Inputs) -> torch.Tensor:
    low, high = (float(inputs[i].item()) if len(inputs) > i and inputs[i] is not None else None for i in (1, 2))  # type: ignore[union-attr]
    return torch.clamp(_present(inputs[0]), low, high)


def _reference(node: ir.Node, inputs: Inputs) -> torch.Tensor:
    """Run a node that is no part of the family as ONNX defines it; slow, but no model is refused for it."""
    names = [value.name or "" if value is not None else "" for value in node.inputs]
    version = 17 if node.graph is None else node.graph.opset_imports.get("", 17)
    untyped = onnx.TypeProto()
    graph = onnx.helper.make_graph(
        [ir.to_proto(node)],
        "node",
        [onnx.helper.make_value_info(name, untyped) for name in dict.fromkeys(names) if name],
        [onnx.helper.make_value_info(name_of(node.outputs[0]), untyped)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
    feeds = {name: _present(value).numpy() for name, value in zip(names, inputs, strict=True) if name}
    (result, *_) = ReferenceEvaluator(model).run(None, feeds)
    return torch.from_numpy(np.array(result))


def _relu(node: ir.Node, inputs: Inputs) -> torch.Tensor:
    return F.relu(_present(inputs[0]))


def _hard_sigmoid(node: ir.Node, inputs: Inputs) -> torch.Tensor:
    return torch.clamp(_present(inputs[0]) * number(node, "alpha", 0.2) + number(node, "beta", 0.5), 0.0, 1.0)


_OPERATORS: Mapping[str, Callable[[ir.Node, Inputs], torch.Tensor]] = {
    "Relu": _relu,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node, inputs: F.hardswish(_present(inputs[0])),
    "Sigmoid": lambda node, inputs: torch.sigmoid(_present(inputs[0])),
    "Add": lambda node, inputs: _present(inputs[0]) + _present(inputs[1]),
    "Sub": lambda node, inputs: _present(inputs[0]) - _present(inputs[1]),
    "Mul": lambda node, inputs: _present(inputs[0]) * _present(inputs[1]),
    "Div": lambda node, inputs: _present(inputs[0]) / _present(inputs[1]),
    "Identity": lambda node, inputs: _present(inputs[0]),
    "GlobalAveragePool": lambda node, inputs: _present(inputs[0]).mean((2, 3), keepdim=True),
    "Flatten": lambda node, inputs: _present(inputs[0]).flatten(integer(node, "axis", 1)),
}
