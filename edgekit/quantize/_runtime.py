"""What onnxruntime makes of each node of a file, and which tensors of two files stand for the same values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import onnx

from edgekit.quantize._graph import is_quantized_operator
from edgekit.quantize._placement import RuntimeOperator, placement
from edgekit.spec import Precision

_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_ACTIVATIONS = frozenset({"Relu", "Clip"})
# They run on whatever they get.
_EITHER = frozenset({"MaxPool", "NhwcMaxPool"})


@dataclasses.dataclass(frozen=True)
class LayerRun:
    """One computing node of a file, and what onnxruntime runs for it.

    Attributes:
        node: Name of the node in the file, or of its first output where it has none.
        op_type: Operator in the file.
        runs_as: Operator that onnxruntime runs for it; empty when it cannot be told.
        precision: What that computes in; None when it cannot be told.
        reason: Why, as far as the file's structure says.
    """

    node: str
    op_type: str
    runs_as: str
    precision: Precision | None
    reason: str


def layers_as_run(model: onnx.ModelProto, operators: Sequence[RuntimeOperator]) -> tuple[LayerRun, ...]:
    """Return what onnxruntime runs for each computing node of a model, in graph order.

    Args:
        model: The model as it is in its file.
        operators: What `runtime_operators` returned for that file.
    """
    graph = _Graph(model)
    runtime = _Runtime(operators)
    found: dict[str, RuntimeOperator] = {}
    rows = []
    for decision in placement(model):
        node = graph.by_label[decision.node]
        operator = runtime.of(node, graph)
        if operator is None and node.op_type in _ACTIVATIONS and node.input[0] in graph.made_by:
            # Gone without a trace: part of the operator that runs for the node before it.
            operator = found.get(_label(graph.made_by[node.input[0]]))
        if operator is None:
            reason = "onnxruntime runs it under another name, or not at all"
            rows.append(LayerRun(decision.node, decision.op_type, "", None, reason))
            continue
        found[decision.node] = operator
        precision = runtime.precision(operator)
        reason = decision.reason
        if precision is not decision.precision:
            integers = precision is Precision.INT8
            reason = "it runs on integers" if integers else "onnxruntime has no int8 kernel for its Q/DQ as they are"
        rows.append(LayerRun(decision.node, decision.op_type, operator.op_type, precision, reason))
    return tuple(rows)


def comparable_tensors(model: onnx.ModelProto, baseline: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """Return, for each computing node, a tensor of the baseline and the tensor of the model that stands for it.

    Of a node whose output is quantized, it is the dequantized tensor; of a node followed by a Relu or Clip, the tensor
    behind that, because an integer kernel does both at once. Nodes without a counterpart are left out.
    """
    graph, reference = _Graph(model), _Graph(baseline)
    result = {}
    for decision in placement(model):
        name = graph.behind_activation(graph.by_label[decision.node].output[0])
        measured = graph.dequantized(name) or name
        expected = next((tensor for tensor in (name, measured) if tensor in reference.made_by), None)
        if expected is None:
            continue
        # The quantizer may have left out an activation that saturation does.
        behind = reference.behind_activation(expected)
        if behind not in graph.made_by:
            expected = behind
        result[decision.node] = (expected, measured)
    return result


class _Graph:
    """Who makes and who reads what."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.made_by = {output: node for node in model.graph.node for output in node.output if output}
        self.by_label = {_label(node): node for node in model.graph.node}
        self.outputs = frozenset(output.name for output in model.graph.output)
        names = Counter(node.name for node in model.graph.node)
        self.unique_names = frozenset(name for name, count in names.items() if name and count == 1)
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for source in node.input:
                self._readers.setdefault(source, []).append(node)

    def behind_activation(self, tensor: str) -> str:
        """Follow a tensor through the Relu and Clip nodes that alone read it."""
        while tensor not in self.outputs:
            behind = self._readers.get(tensor, [])
            if len(behind) != 1 or behind[0].op_type not in _ACTIVATIONS:
                break
            tensor = behind[0].output[0]
        return tensor

    def quantized(self, tensor: str) -> str | None:
        """Return the integers that a tensor becomes."""
        for node in self._readers.get(tensor, []):
            if node.op_type == "QuantizeLinear":
                return str(node.output[0])
        return None

    def dequantized(self, tensor: str) -> str | None:
        """Return the tensor of the values that a quantized tensor stands for."""
        for node in self._readers.get(self.quantized(tensor) or "", []):
            if node.op_type == "DequantizeLinear":
                return str(node.output[0])
        return None


class _Runtime:
    """The operators that onnxruntime runs, by name and by output."""

    def __init__(self, operators: Sequence[RuntimeOperator]) -> None:
        computing = [operator for operator in operators if operator.op_type not in _CONVERSIONS]
        self._by_name = {operator.name: operator for operator in computing if operator.name}
        self._by_output = {output: operator for operator in computing for output in operator.outputs}
        self._made_by = {output: operator for operator in operators for output in operator.outputs}

    def of(self, node: onnx.NodeProto, graph: _Graph) -> RuntimeOperator | None:
        """Return what runs for a node: the operator of its name, else the one that writes what it writes."""
        if node.name in graph.unique_names and node.name in self._by_name:
            return self._by_name[node.name]
        output = node.output[0]
        behind = graph.behind_activation(output)
        candidates = (output, graph.quantized(output), behind, graph.quantized(behind))
        return next((self._by_output[tensor] for tensor in candidates if tensor in self._by_output), None)

    def precision(self, operator: RuntimeOperator) -> Precision:
        """Return what an operator computes in."""
        if is_quantized_operator(operator.op_type):
            return Precision.INT8
        source = self._made_by.get(operator.inputs[0]) if operator.op_type in _EITHER and operator.inputs else None
        integers = source is not None and (source.op_type == "QuantizeLinear" or self._writes_integers(source))
        return Precision.INT8 if integers else Precision.FLOAT

    def _writes_integers(self, operator: RuntimeOperator) -> bool:
        return operator.op_type.startswith("QLinear") or (
            operator.op_type in _EITHER and self.precision(operator) is Precision.INT8
        )


def _label(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]
