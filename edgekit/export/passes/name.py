"""Give nodes, values and weights unique names that say where they come from.

Needs the final nodes. torch's `/features/features.3/block/block.0/Conv` becomes `features.3.block.0/Conv`,
its output `features.3.block.0/Conv_output`, its weights `features.3.block.0.weight` and `.bias`. Names that
users gave stay, unless two nodes share one. The inputs and outputs of the model keep their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from edgekit.export.passes._pass import copy_of, layer_of
from edgekit.spec import Note

name = "name"

_WEIGHTS = {1: "weight", 2: "bias"}


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with readable, unique names."""
    result = copy_of(model)
    nodes = _unique()
    for node in result.graph.node:
        node.name = nodes(_readable(node.name) or node.op_type)
    if _nested(result):
        return result, ()
    fixed = {value.name for value in (*result.graph.input, *result.graph.output)}
    renamed = _values(result, fixed)
    for node in result.graph.node:
        node.input[:] = [renamed.get(value, value) for value in node.input]
        node.output[:] = [renamed.get(value, value) for value in node.output]
    for tensor in result.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    del result.graph.value_info[:]
    return result, ()


def _nested(model: ModelProto) -> bool:
    """Whether nodes hold graphs: those refer to values of the main graph by name, so no value is renamed."""
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    return any(attribute.HasField("g") or attribute.graphs for attribute in attributes)


def _values(model: ModelProto, fixed: set[str]) -> dict[str, str]:
    """Map old names of values and weights to new ones, for those whose old name was made up by a tool."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    everything = {*constants, *(value for node in model.graph.node for value in node.output), *fixed}
    unique = _unique(value for value in everything if not _made_up(value))
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        for position, value in enumerate(node.input):
            if value in constants and value not in renamed and _made_up(value):
                renamed[value] = unique(_weight_name(node, position, constants[value]))
        for position, value in enumerate(node.output):
            if value and value not in fixed and _made_up(value):
                renamed[value] = unique(f"{node.name}_output" + (f"_{position}" if position else ""))
    return renamed


def _made_up(value: str) -> bool:
    """Whether a tool made up a name: torch's scopes and `onnx::` numbers, plain numbers, names of passes."""
    return value.startswith("/") or "::" in value or bool(re.fullmatch(r"(val_)?\d+(_\w+)?|.*_bias_*|", value))


def _weight_name(node: NodeProto, position: int, tensor: TensorProto) -> str:
    if node.op_type in {"Conv", "Gemm", "MatMul"} and position in _WEIGHTS:
        return f"{layer_of(node.name) or node.name}.{_WEIGHTS[position]}"
    values = numpy_helper.to_array(tensor)
    # Limits and other single numbers are shared by many nodes and named by what they are.
    return f"constant_{values.item():g}" if values.size == 1 and values.dtype.kind in "fiu" else f"{node.name}_constant"


def _readable(node_name: str) -> str:
    """Turn torch's nested scopes into one path; any other name stays as it is."""
    if not node_name.startswith("/"):
        return node_name
    *scopes, operator = node_name.strip("/").split("/")
    path: list[str] = []
    for scope in scopes:
        # A child of a Sequential repeats the name of its parent: features, then features.3.
        if path and scope.startswith(f"{path[-1]}."):
            path.pop()
        path.append(scope)
    layer = ".".join(path)
    return f"{layer}/{operator}" if layer else operator


def _unique(taken_already: Iterable[str] = ()) -> Callable[[str], str]:
    """Return a function that adds a number to a name that it has seen before."""
    taken: set[str] = set(taken_already)

    def unique(wanted: str) -> str:
        candidate, number = wanted, 1
        while candidate in taken:
            candidate, number = f"{wanted}_{number}", number + 1
        taken.add(candidate)
        return candidate

    return unique
