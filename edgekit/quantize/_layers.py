"""Which nodes of an FP32 graph can run in int8, and which tensors that quantizes: structure only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.quantize._flavour import CPU, Flavour
from edgekit.quantize._graph import (
    BOOKKEEPING,
    MOVES,
    constant,
    float_constant,
    given,
    integer,
    node_name,
    number,
    only_reader,
)
from edgekit.spec import Range

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_FLOAT_OUTPUT = frozenset({"Gemm", "MatMul"})  # their int8 kernels can write float
_ACTIVATIONS = frozenset({"Relu", "Clip"})

_WHY_FLOAT: Mapping[str, str] = {
    "BatchNormalization": "it is not folded into a convolution and has no int8 kernel",
    "HardSigmoid": "it has no int8 kernel in onnxruntime",
    "HardSwish": "it has no int8 kernel in onnxruntime",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """The structural half of a plan.

    Attributes:
        integer: Nodes that run in int8, each with the reason.
        floating: Nodes that compute in float, each with the reason.
        absorbed: Relu and Clip nodes that the scale of their output does the work of.
        quantized: Activations that become integers, in graph order, each with the limits its absorbed nodes
            set.
    """

    integer: Mapping[ir.Node, str]
    floating: Mapping[ir.Node, str]
    absorbed: Mapping[ir.Node, str]
    quantized: Mapping[ir.Value, Range]


def find_layers(
    graph: ir.Graph, flavour: Flavour = CPU, keep_float: Mapping[str, str] = MappingProxyType({})
) -> Layers:
    """Decide for every node of a canonical graph what it computes in.

    Convolutions and linear layers with constant weights run in int8. Elementwise and pooling nodes do so
    when int8 reaches them anyway; between float nodes the conversions would cost more than they save.

    Args:
        graph: Canonical FP32 graph, every node named.
        flavour: What the target can do in int8, and where it wants its Q/DQ.
        keep_float: Names of nodes that stay in float whatever they could do, each with the reason.
    """
    integer_nodes, floating, reached = _precisions(graph, flavour, keep_float)
    absorbed: dict[ir.Node, str] = {}
    quantized: dict[ir.Value, Range] = {}
    find = _quantized_values if flavour.absorbs else _quantized_inputs
    for value in find(graph, integer_nodes, reached):
        low, high = -math.inf, math.inf
        for activation, limits in _absorbable_before(value):
            low, high = max(low, limits.low), min(high, limits.high)
            if flavour.absorbs:
                absorbed[activation] = f"done by the scale of {value.name}: integers saturate where it would clip"
            else:
                integer_nodes[activation] = "the runtime fuses it into the layer before it"
        quantized[value] = Range(low, high)
    left = [n for n in graph if n.op_type in _ACTIVATIONS and n not in absorbed and n not in integer_nodes]
    floating |= {node: _why_not_absorbed(node) for node in left}
    return Layers(integer_nodes, floating, absorbed, quantized)


def why_not_weighted(node: ir.Node) -> str | None:
    """Return why a Conv, Gemm or MatMul cannot have int8 weights, None when it can."""
    weight = float_constant(node.inputs[1])
    if weight is None:
        return "its weight is not a float32 constant"
    if node.op_type != "Conv" and weight.ndim != 2:
        return "its weight is not a matrix"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    channels = weight.shape[weight_axis(node)]
    if bias is not None:
        array = float_constant(bias)
        if array is None or array.size != channels:
            return "its bias is not one constant for each output channel"
    scaled = number(node, "alpha", 1.0) != 1.0 or (bias is not None and number(node, "beta", 1.0) != 1.0)
    if node.op_type == "Gemm" and (scaled or integer(node, "transA", 0)):
        return "it scales or transposes what it reads"
    return None


def weight_axis(node: ir.Node) -> int:
    """Return the axis of the output channels in the weight of a Conv, Gemm or MatMul."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and integer(node, "transB", 0) else 1


def is_depthwise(node: ir.Node) -> bool:
    """Tell whether a node convolves each channel for itself: onnxruntime multiplies those without `pmaddubsw`."""
    if node.op_type != "Conv":
        return False
    channels, inputs = weight_of(node).shape[:2]
    return bool(integer(node, "group", 1) == channels and channels > 1 and inputs == 1)


def weight_of(node: ir.Node) -> npt.NDArray[np.float32]:
    """Return the weight of a node that `find_layers` found fit for int8."""
    weight = float_constant(node.inputs[1])
    if weight is None:
        raise ValueError(f"{node.name} has no constant float weight")
    return weight


def bias_of(node: ir.Node) -> npt.NDArray[np.float32] | None:
    """Return the bias of such a node, one value per output channel, or None."""
    bias = float_constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return None if bias is None else bias.reshape(-1)


def origin(value: ir.Value, quantized: Mapping[ir.Value, Range]) -> ir.Value:
    """Return the tensor whose integers `value` shares, because the nodes between only move them."""
    producer = value.producer()
    while producer is not None and producer.op_type in MOVES:
        source = producer.inputs[0]
        if source is None or source not in quantized:
            break
        value, producer = source, source.producer()
    return value


def _precisions(
    graph: ir.Graph, flavour: Flavour, keep_float: Mapping[str, str]
) -> tuple[dict[ir.Node, str], dict[ir.Node, str], set[ir.Value]]:
    """Return the int8 nodes, the float nodes, and the values that int8 reaches.

    Relu and Clip are in neither: whether they vanish depends on who reads them.
    """
    integer_nodes: dict[ir.Node, str] = {}
    floating: dict[ir.Node, str] = {}
    reached: set[ir.Value] = set()
    axes: dict[ir.Value | None, int] = {}
    for node in graph:
        if node.op_type in BOOKKEEPING or node.op_type in _ACTIVATIONS | MOVES:
            if _hands_on(node) and node.inputs[0] in reached:
                reached.add(node.outputs[0])
            continue
        why_not = keep_float.get(node_name(node)) or _why_not_integer(node, reached, axes)
        if why_not is None and not flavour.absorbs:
            why_not = _why_not_tensorrt(node)
        if why_not is not None:
            floating[node] = why_not
            continue
        integer_nodes[node] = _why_integer(node, flavour)
        if node.op_type not in _FLOAT_OUTPUT:
            reached.add(node.outputs[0])
    return integer_nodes, floating, reached


def _hands_on(node: ir.Node) -> bool:
    """Whether integers before a node can be integers behind it."""
    return node.op_type in MOVES or _clip_limits(node) is not None


def _quantized_values(
    graph: ir.Graph, integer_nodes: Mapping[ir.Node, str], reached: Collection[ir.Value]
) -> list[ir.Value]:
    wanted: set[ir.Value] = set()
    for node in integer_nodes:
        data = node.inputs[:1] if node.op_type in WEIGHTED else node.inputs
        wanted.update(value for value in data if value is not None)
        if node.op_type not in _FLOAT_OUTPUT:
            wanted.add(_after_activations(node.outputs[0]))
    # What is moved on its way from one int8 node to another stays integer on the way.
    for node in reversed(graph):
        source = node.inputs[0] if node.op_type in MOVES and node.outputs[0] in wanted else None
        if source is not None and source in reached:
            wanted.add(source)
    return [value for value in _values(graph) if value in wanted]


def _quantized_inputs(
    graph: ir.Graph, integer_nodes: Mapping[ir.Node, str], reached: Collection[ir.Value]
) -> list[ir.Value]:
    """What TensorRT wants quantized: what an int8 layer reads, and of a residual Add the identity alone."""
    wanted: set[ir.Value] = set()
    for node in integer_nodes:
        wanted.update(value for value in quantized_inputs(node))
    return [value for value in _values(graph) if value in wanted]


def quantized_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the inputs that a TensorRT node reads through Q/DQ.

    The branch of an Add that a convolution wrote stays float, so that the Add is fused into that convolution.
    """
    data = [given(value) for value in (node.inputs[:1] if node.op_type in WEIGHTED else node.inputs)]
    if node.op_type != "Add":
        return tuple(data)
    branches = [value for value in data if _written_by_convolution(value)]
    return tuple(value for value in data if value is not (branches[-1] if branches else data[-1]))


def _written_by_convolution(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == "Conv" and only_reader(value) is not None


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _after_activations(value: ir.Value) -> ir.Value:
    while (reader := only_reader(value)) is not None and _clip_limits(reader) is not None:
        value = reader.outputs[0]
    return value


def _absorbable_before(value: ir.Value) -> Iterator[tuple[ir.Node, Range]]:
    node = value.producer()
    while node is not None and (limits := _clip_limits(node)) is not None:
        yield node, limits
        node = given(node.inputs[0]).producer()


def _clip_limits(node: ir.Node) -> Range | None:
    """The limits of a Relu or Clip that a scale could absorb, else None.

    Its input must have no other reader, come from a node, and the limits must hold zero.
    """
    if node.op_type not in _ACTIVATIONS:
        return None
    source = node.inputs[0]
    if source is None or source.producer() is None or only_reader(source) is not node:
        return None
    if node.op_type == "Relu":
        return Range(0.0, math.inf)
    low, high = (clip_limit(node, index) for index in (1, 2))
    if low is None or high is None or not low <= 0 <= high or low == high:
        return None
    return Range(low, high)


def clip_limit(node: ir.Node, index: int) -> float | None:
    """Return the lower (1) or upper (2) limit of a Clip: infinite when absent, None when it is computed."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return -math.inf if index == 1 else math.inf
    array = constant(value)
    return None if array is None else float(array.reshape(()))


def _why_not_integer(node: ir.Node, reached: Collection[ir.Value], axes: dict[ir.Value | None, int]) -> str | None:
    if node.op_type in WEIGHTED:
        why_not = why_not_weighted(node)
        if why_not is None and axes.setdefault(node.inputs[1], weight_axis(node)) != weight_axis(node):
            return "another layer uses its weight with other output channels"
        return why_not
    if node.op_type in {"Add", "Mul"}:
        return _why_not_elementwise(node, reached)
    if node.op_type == "GlobalAveragePool":
        return None if node.inputs[0] in reached else "what it reads is float; converting would cost more than it saves"
    return _why_float(node)


def _why_not_elementwise(node: ir.Node, reached: Collection[ir.Value]) -> str | None:
    if any(constant(value) is not None for value in node.inputs):
        return "one of its inputs is a constant"
    if not any(value in reached for value in node.inputs):
        return "what it reads is float; converting would cost more than it saves"
    first, second = node.inputs
    if _comes_from(first, second) or _comes_from(second, first):
        return "part of a non-linearity (x times a function of x) whose other half is float"
    return None


def _comes_from(value: ir.Value | None, source: ir.Value | None) -> bool:
    """Whether `value` is `source` after nothing but elementwise functions of it."""
    while value is not None and (node := value.producer()) is not None:
        variable = [operand for operand in node.inputs if operand is not None and constant(operand) is None]
        elementwise = {
            "HardSigmoid",
            "Sigmoid",
            "Clip",
            "Relu",
            "Tanh",
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Softplus",
        }
        if node.op_type not in elementwise or len(variable) != 1:
            return False
        value = variable[0]
        if value is source:
            return True
    return False


def _why_integer(node: ir.Node, flavour: Flavour) -> str:
    activations = "int8 activations" if flavour.symmetric else "uint8 activations"
    if node.op_type not in WEIGHTED:
        return activations
    return f"{activations}, int8 weights with a scale per output channel"


def _why_not_tensorrt(node: ir.Node) -> str | None:
    """Return why TensorRT is better off with a node in float, though it could run in int8."""
    if node.op_type == "Mul":
        return "TensorRT gains nothing from the product of a squeeze-and-excitation block in int8"
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    if node.op_type == "Conv" and shape is not None and tuple(shape.dims[2:]) == (1, 1):
        return "it sees one pixel, so int8 would only add conversions"
    return None


def _why_float(node: ir.Node) -> str:
    return _WHY_FLOAT.get(node.op_type, f"edgekit knows no int8 form of {node.op_type}")


def _why_not_absorbed(node: ir.Node) -> str:
    source = node.inputs[0]
    if source is None or source.producer() is None or only_reader(source) is not node:
        return "what it reads is needed unclipped elsewhere, so no scale can do its work"
    if _clip_limits(node) is None:
        return "its limits are computed or leave out zero, so no scale can do its work"
    return "what it writes is needed in float, so there is no scale to do its work"
