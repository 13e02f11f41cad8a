"""What a finished model file runs in: by its structure, and as onnxruntime really runs it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx

from edgekit.quantize._graph import BOOKKEEPING, MOVES, is_quantized_operator
from edgekit.spec import LayerDecision, Precision

_CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_FLOAT_OUTPUT = frozenset({"Gemm", "MatMul"})  # their int8 kernels can write float
_HAS_INTEGER_KERNEL = _FLOAT_OUTPUT | {"Conv", "Add", "Mul", "GlobalAveragePool", "AveragePool"}
_HEAVY = frozenset({"Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})


@dataclasses.dataclass(frozen=True)
class RuntimeOperator:
    """One node of the graph that onnxruntime runs.

    Attributes:
        name: Name that onnxruntime gave it.
        op_type: Operator, e.g. `QLinearConv`.
        domain: Operator set, empty for ONNX's own.
        inputs: Names of the tensors that it reads, as onnxruntime calls them.
        outputs: Names of the tensors that it writes; most are those of the file.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def placement(model: onnx.ModelProto | Path) -> tuple[LayerDecision, ...]:
    """Return what each computing node of a model runs in, in graph order, from its structure.

    Args:
        model: A float, Q/DQ or dynamically quantized model, or the path of its file.
    """
    if isinstance(model, Path):
        model = onnx.load(model)
    graph = model.graph
    made_by = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for source in node.input:
            readers.setdefault(source, []).append(node)
    structure = _Structure(made_by, readers, frozenset(output.name for output in graph.output), _constants(graph))
    return tuple(_row(node, structure) for node in graph.node if node.op_type not in _CONVERSIONS | MOVES | BOOKKEEPING)


def runtime_operators(path: Path) -> tuple[RuntimeOperator, ...]:
    """Return the nodes that onnxruntime runs on this machine, after its own graph optimization.

    The level is ORT_ENABLE_EXTENDED: what it fuses is what the default level fuses; the layout changes that
    the default adds belong to this processor and cannot be written to a file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(optimized)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(optimized).graph.node
    return tuple(
        RuntimeOperator(node.name, node.op_type, node.domain, tuple(node.input), tuple(node.output)) for node in nodes
    )


def float_compute(operators: Iterable[RuntimeOperator]) -> tuple[str, ...]:
    """Return the names of convolutions and linear layers that onnxruntime runs in float."""
    return tuple(operator.name for operator in operators if operator.op_type in _HEAVY)


@dataclasses.dataclass(frozen=True)
class _Structure:
    made_by: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, list[onnx.NodeProto]]
    outputs: frozenset[str]
    constants: Mapping[str, onnx.TensorProto]

    def reads_integers(self, tensor: str) -> bool:
        node = self.made_by.get(tensor)
        return node is not None and node.op_type == "DequantizeLinear"

    def writes_integers(self, tensor: str) -> bool:
        """Whether only QuantizeLinear reads it, if need be behind a Relu or Clip that its zero point does."""
        readers = self.readers.get(tensor, [])
        if tensor in self.outputs or len(readers) != 1:
            return False
        reader = readers[0]
        if reader.op_type in {"Relu", "Clip"}:
            return self.is_absorbed(reader)
        return reader.op_type == "QuantizeLinear"

    def is_absorbed(self, activation: onnx.NodeProto) -> bool:
        """Whether saturation at the zero point does what a Relu or the lower end of a Clip does."""
        readers = self.readers.get(activation.output[0], [])
        if len(readers) != 1 or readers[0].op_type != "QuantizeLinear" or activation.output[0] in self.outputs:
            return False
        zero_point = readers[0].input[2] if len(readers[0].input) > 2 else ""
        if zero_point not in self.constants:
            return not zero_point  # absent means uint8 with zero point 0
        array = onnx.numpy_helper.to_array(self.constants[zero_point])
        return bool(np.all(array == np.iinfo(array.dtype).min))


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    return constants


def _row(node: onnx.NodeProto, structure: _Structure) -> LayerDecision:
    why_not = _why_float(node, structure)
    precision = Precision.INT8 if why_not is None else Precision.FLOAT
    reason = "it reads and writes integers" if why_not is None else why_not
    return LayerDecision(node.name or node.output[0], node.op_type, precision, reason)


def _why_float(node: onnx.NodeProto, structure: _Structure) -> str | None:
    if is_quantized_operator(node.op_type):
        return None
    if node.op_type in {"Relu", "Clip"} and structure.is_absorbed(node):
        return None
    if node.op_type not in _HAS_INTEGER_KERNEL:
        return f"{node.op_type} has no int8 kernel"
    data = node.input[:2] if node.op_type in _FLOAT_OUTPUT | {"Conv"} else node.input
    floats = [tensor for tensor in data if not structure.reads_integers(tensor)]
    if floats:
        return f"it reads {' and '.join(floats)} in float"
    if node.op_type not in _FLOAT_OUTPUT and not structure.writes_integers(node.output[0]):
        return f"{node.output[0]} is not quantized"
    return None
