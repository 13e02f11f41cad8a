"""The layers of a candidate: each a piece of its graph beside the piece of the baseline that it stands for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from edgekit.errors import ComparisonError
from edgekit.validate.findings._graph import NO_LAYERS, Graph, Segment

Floats = npt.NDArray[np.float64]
INPUT = "Input"


@dataclasses.dataclass(frozen=True, eq=False)
class Quantizer:
    """What a QuantizeLinear and the DequantizeLinear behind it make of values; one number a channel, or one for all.

    Attributes:
        low: Smallest value that an integer stands for.
        high: Largest one.
        step: What one integer is apart from the next.
        symmetric: Integers are signed and 0 stands for 0.0.
    """

    low: Floats
    high: Floats
    step: Floats
    symmetric: bool

    def rounded(self, values: Floats) -> Floats:
        """Return the values that are left of some, (N, C)."""
        step = np.where(self.step > 0, self.step, 1.0)
        result: Floats = np.clip(np.rint(values / step) * step, self.low, self.high)
        return result

    def clipped(self, values: Floats) -> Floats:
        """Return the values cut off at the ends of the range."""
        return np.clip(values, self.low, self.high)

    def divided_by(self, gains: Floats) -> Quantizer:
        """Return the same for values that were not multiplied by `gains` before."""
        return Quantizer(self.low / gains, self.high / gains, self.step / gains, self.symmetric)


@dataclasses.dataclass(frozen=True, eq=False)
class Weight:
    """The quantized weight of a layer.

    Attributes:
        rows: The values that its integers stand for, (output channels, rest).
        step: What one integer is apart from the next; one number a channel, or one for all.
        depthwise: Each output channel reads one input channel.
    """

    rows: Floats
    step: Floats
    depthwise: bool

    @functools.cached_property
    def largest_integers(self) -> Floats:
        """The largest integer of each output channel, in magnitude."""
        largest = np.abs(self.rows).max(axis=1, initial=0.0)
        steps = np.broadcast_to(self.step, largest.shape)
        integers: Floats = np.rint(np.divide(largest, steps, out=np.zeros_like(largest), where=steps > 0))
        return integers


@dataclasses.dataclass(frozen=True, eq=False)
class Filters:
    """The weights of a convolution, (output channels, input channels of a group, height, width).

    Attributes:
        candidate: What the candidate multiplies with, whether that is quantized or not.
        baseline: What the baseline multiplies with.
        groups: Groups of channels.
    """

    candidate: npt.NDArray[np.float32]
    baseline: npt.NDArray[np.float32]
    groups: int


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One computing node of the candidate with the activation behind it and the Q/DQ of what it writes.

    Attributes:
        name: Name of the node, or of its first output where it has none; of the input itself for the image.
        op_type: Operator, `Input` for the image.
        expected: Tensor of the baseline that it stands for.
        tensors: What it writes, as later layers read it: the one to compare comes first.
        sources: Places of the layers whose outputs its node reads, in order; -1 for anything else.
        quantizer: Q/DQ of what it writes; None when that stays in float.
        weight: Its quantized weight; None when it has none.
        filters: The weights of a convolution in both models; None for anything else.
        candidate: What computes `tensors` from tensors in float.
        kernel: What computes `tensors` and the integers they are made of, from the integers before it: onnxruntime runs
            its integer kernel. None where nothing before it is quantized.
        baseline: What computes `expected`; None when that needs a layer which comes later in the candidate.
    """

    name: str
    op_type: str
    expected: str
    tensors: tuple[str, ...]
    sources: tuple[int, ...]
    quantizer: Quantizer | None
    weight: Weight | None
    filters: Filters | None
    candidate: Segment
    kernel: Segment | None
    baseline: Segment | None


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers in an order in which they can run.

    Attributes:
        layers: The image first.
        made_by: The place of the layer that makes each tensor that another layer of the candidate reads, in float or
            in integers.
        expected_from: The same for the baseline.
        output: Place of the layer that gives the logits.
    """

    layers: tuple[Layer, ...]
    made_by: Mapping[str, int]
    expected_from: Mapping[str, int]
    output: int


@dataclasses.dataclass(frozen=True)
class _Anchor:
    """A tensor of the candidate before its Q/DQ, the node it belongs to, and its counterpart."""

    root: str
    node: onnx.NodeProto | None
    expected: str


def read_layers(baseline: Graph, candidate: Graph) -> Layers:
    """Match the layers of a candidate with the baseline that it was made from, by the names of their tensors.

    Raises:
        ComparisonError: EK620 when no layer between image and logits has a counterpart.
    """
    anchors = _anchors(baseline, candidate)
    if len(anchors) <= 2:
        raise not_matching("no layer of the candidate has the name of one of the baseline")
    made_by: dict[str, int] = {}
    integers: dict[str, int] = {}
    for place, anchor in enumerate(anchors):
        made_by |= dict.fromkeys((anchor.root, *candidate.dequantized(anchor.root)), place)
        integers |= dict.fromkeys(candidate.integers(anchor.root), place)
    expected_from = {anchor.expected: place for place, anchor in enumerate(anchors)}
    read = {candidate.output}
    for anchor in anchors:
        read.update(candidate.stops_before([_measured(candidate, anchor.root)], _without(made_by, anchor.root)))
    layers = []
    for place, anchor in enumerate(anchors):
        layer = _layer(baseline, candidate, anchor, place, made_by, expected_from, read)
        layers.append(dataclasses.replace(layer, kernel=_kernel(candidate, anchor, layer, made_by, integers)))
    return Layers(tuple(layers), {**made_by, **integers}, expected_from, made_by[candidate.output])


def not_matching(what: str) -> ComparisonError:
    """Return the error that two models cannot be compared layer by layer."""
    return ComparisonError(
        "EK620", what, hint="give the FP32 model that the candidate was made from, and a candidate with Q/DQ nodes"
    )


def _anchors(baseline: Graph, candidate: Graph) -> list[_Anchor]:
    found = {candidate.input: _Anchor(candidate.input, None, baseline.input)}
    taken = {baseline.input}
    last = candidate.root(candidate.output)
    for node in candidate.nodes:
        root = candidate.behind_activation(node.output[0])
        if root in found or (root != last and node.op_type in NO_LAYERS):
            continue
        expected = baseline.output if root == last else _counterpart(baseline, candidate, root)
        if expected is not None and expected not in taken:
            found[root] = _Anchor(root, node, expected)
            taken.add(expected)
    return list(found.values())


def _counterpart(baseline: Graph, candidate: Graph, root: str) -> str | None:
    names = (root, *candidate.dequantized(root))
    expected = next((name for name in names if name in baseline.made_by), None)
    if expected is None:
        return None
    # The quantizer may have left out an activation that saturation does.
    behind = baseline.behind_activation(expected)
    return expected if behind in candidate.made_by else behind


def _measured(candidate: Graph, root: str) -> str:
    return next(candidate.dequantized(root), root)


def _without(made_by: Mapping[str, int], root: str) -> set[str]:
    return {tensor for tensor, place in made_by.items() if place != made_by[root]}


def _layer(
    baseline: Graph,
    candidate: Graph,
    anchor: _Anchor,
    place: int,
    made_by: Mapping[str, int],
    expected_from: Mapping[str, int],
    read: Collection[str],
) -> Layer:
    root, node = anchor.root, anchor.node
    measured = _measured(candidate, root)
    others = [tensor for tensor in (root, *candidate.dequantized(root)) if tensor in read and tensor != measured]
    tensors = tuple(dict.fromkeys([measured, *others]))
    segment = baseline.cut([anchor.expected], expected_from.keys() - {anchor.expected})
    known = all(expected_from.get(tensor, place) < place or not place for tensor in segment.inputs)
    return Layer(
        name=root if node is None else node.name or node.output[0],
        op_type=INPUT if node is None else node.op_type,
        expected=anchor.expected,
        tensors=tensors,
        sources=() if node is None else tuple(made_by.get(name, -1) for name in node.input),
        quantizer=_quantizer(candidate, root),
        weight=None if node is None else _weight(candidate, node),
        filters=None if node is None else _filters(baseline, candidate, node, segment),
        candidate=candidate.cut(tensors, _without(made_by, root)),
        kernel=None,
        baseline=segment if known else None,
    )


def _kernel(
    candidate: Graph, anchor: _Anchor, layer: Layer, made_by: Mapping[str, int], integers: Mapping[str, int]
) -> Segment | None:
    own = list(candidate.integers(anchor.root))
    # Only tensors that are read in float too are stops as such: the others are behind integers.
    stops = {*(integers.keys() - set(own)), *_without(made_by, anchor.root)} - _behind(candidate, integers)
    segment = candidate.cut([*layer.tensors, *own], stops)
    return segment if own or any(name in integers for name in segment.inputs) else None


def _behind(candidate: Graph, integers: Mapping[str, int]) -> set[str]:
    """The tensors that integers are dequantized to."""
    return {
        node.output[0] for name in integers for node in candidate.readers(name) if node.op_type == "DequantizeLinear"
    }


def _filters(baseline: Graph, candidate: Graph, node: onnx.NodeProto, segment: Segment) -> Filters | None:
    nodes = () if segment.model is None else segment.model.graph.node
    twins = [twin for twin in nodes if twin.op_type == "Conv"]
    if node.op_type != "Conv" or len(twins) != 1:
        return None
    own, other = candidate.constants.get(node.input[1]), baseline.constants.get(twins[0].input[1])
    if own is None or other is None or own.shape != other.shape or own.ndim != 4:
        return None
    return Filters(own, other, _groups(node))


def _groups(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _quantizer(graph: Graph, root: str) -> Quantizer | None:
    node = next(graph.quantizers(root), None)
    if node is None or node.input[1] not in graph.constants:
        return None
    step = graph.constants[node.input[1]].astype(np.float64).reshape(-1)
    point = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
    zero = np.zeros(1, np.uint8) if point is None else point.reshape(-1)
    if zero.dtype.kind not in "iu":
        return None  # float8
    limits = np.iinfo(zero.dtype)
    zeros = zero.astype(np.float64)
    symmetric = limits.min < 0 and not zero.any()
    return Quantizer((limits.min - zeros) * step, (limits.max - zeros) * step, step, symmetric)


def _weight(graph: Graph, node: onnx.NodeProto) -> Weight | None:
    maker = graph.constant_makers.get(node.input[1]) if len(node.input) > 1 else None
    if node.op_type not in {"Conv", "Gemm", "MatMul"} or maker is None or maker.op_type != "DequantizeLinear":
        return None
    values = graph.constants[node.input[1]].astype(np.float64)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    axis = 0 if node.op_type == "Conv" or transposed else values.ndim - 1
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    step = graph.constants[maker.input[1]].astype(np.float64).reshape(-1)
    return Weight(rows, step, node.op_type == "Conv" and _groups(node) > 1 and values.shape[1] == 1)
