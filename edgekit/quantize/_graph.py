"""Reading an ONNX graph: names, constants, and whether it can be quantized at all."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgekit.errors import QuantizationError

# QuantizeLinear and DequantizeLinear take a scale per channel from this opset on.
OLDEST_OPSET = 13

# They move values and compute nothing, so what holds for their input holds for their output.
MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})

# Bookkeeping about shapes and constants: not layers.
BOOKKEEPING = frozenset({
    "Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Gather", "Pad", "Range", "Shape", "Slice",
    "Split",
})  # fmt: skip


def editable(model: onnx.ModelProto) -> ir.Model:
    """Return a copy of an FP32 model to read or change, in which every node has a name of its own.

    Raises:
        QuantizationError: EK503 when the opset is too old, EK504 when the model is quantized already.
    """
    _require_opset(model)
    _require_float(model)
    copy = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    _name_nodes(copy.graph)
    return copy


def is_quantized_operator(op_type: str) -> bool:
    """Tell whether an operator reads or makes integers that stand for real values."""
    return op_type in {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QGemm"} or (
        op_type.startswith(("QLinear", "DynamicQuantize")) or op_type.endswith(("Integer", "IntegerToFloat"))
    )


def constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """Return the array of an initializer or Constant node, None when the value is computed or absent."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def float_constant(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    """Return the array of a float32 constant, None when it is anything else."""
    array = constant(value)
    return array.astype(np.float32, copy=False) if array is not None and array.dtype == np.float32 else None


def integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """Return an attribute that is a list of integers."""
    attribute = node.attributes.get(name)
    return default if attribute is None else tuple(attribute.as_ints())


def integer(node: ir.Node, name: str, default: int) -> int:
    """Return an attribute that is one integer."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def number(node: ir.Node, name: str, default: float) -> float:
    """Return an attribute that is one float."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def given(value: ir.Value | None) -> ir.Value:
    """Return an input that the operator requires, which ONNX lets be absent."""
    if value is None:
        raise ValueError("a node lacks an input that its operator requires")
    return value


def name_of(value: ir.Value) -> str:
    """Return the name of a value; ONNX gives one to each."""
    if not value.name:
        raise ValueError("a value of the graph has no name")
    return value.name


def node_name(node: ir.Node) -> str:
    """Return the name of a node of an `editable` graph."""
    if not node.name:
        raise ValueError("a node of the graph has no name")
    return node.name


def only_reader(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads `value`, None when several, none or the outside do."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def drop_unused_constants(graph: ir.Graph) -> None:
    """Remove initializers that nothing reads, and Constant nodes likewise."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
    for node in list(graph):
        if node.op_type == "Constant" and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)


def take_place(graph: ir.Graph, old: ir.Node, result: ir.Value) -> None:
    """Let `result` stand for the output of `old`, under its name, and remove `old`."""
    output = old.outputs[0]
    name, shape, dtype = output.name, output.shape, output.type
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    result.name, result.shape, result.type = name, shape, dtype


def add_constant(graph: ir.Graph, names: Names, name: str, array: npt.NDArray[Any] | np.generic) -> ir.Value:
    """Add an initializer, under a name as near to `name` as is free."""
    name = names.new(name)
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
    shape, dtype = ir.Shape(array.shape), ir.TensorType(tensor.dtype)
    value = ir.Value(name=name, shape=shape, type=dtype, const_value=tensor)
    graph.register_initializer(value)
    return value


class Names:
    """Hands out value and node names that the graph does not have yet."""

    def __init__(self, graph: ir.Graph) -> None:
        self._taken = set(_all_names(graph))

    def new(self, wanted: str) -> str:
        """Return `wanted`, with a number behind it when it is taken."""
        name = _free(wanted, self._taken)
        self._taken.add(name)
        return name


def _free(wanted: str, taken: Collection[str]) -> str:
    candidates = itertools.chain([wanted], (f"{wanted}_{number}" for number in itertools.count(1)))
    return next(candidate for candidate in candidates if candidate not in taken)


def _all_names(graph: ir.Graph) -> Iterator[str]:
    values = itertools.chain(graph.inputs, graph.initializers.values(), *(node.outputs for node in graph))
    yield from (value.name for value in values if value.name)
    yield from (node.name for node in graph if node.name)


def _name_nodes(graph: ir.Graph) -> None:
    taken: set[str] = set()
    for node in graph:
        # The output's name is unique in the graph and survives edits elsewhere; a running number would not.
        node.name = _free(node.name or f"{node.op_type}_{node.outputs[0].name}", taken)
        taken.add(node.name)


def _require_opset(model: onnx.ModelProto) -> None:
    opset = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 0)
    if opset < OLDEST_OPSET:
        raise QuantizationError(
            "EK503",
            f"opset {opset} has no quantization per channel, which begins with opset {OLDEST_OPSET}",
            hint=f"export the model again with opset {OLDEST_OPSET} or later",
        )


def _require_float(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if is_quantized_operator(node.op_type):
            raise QuantizationError(
                "EK504",
                f"the model is quantized already, it holds {node.op_type}",
                where=node.name or node.output[0],
                hint="give the FP32 model that it was made from",
            )
