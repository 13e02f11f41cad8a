"""A global average pool written as ReduceMean."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.quantize._graph import (
    Names,
    constant,
    drop_unused_constants,
    integer,
    integers,
    name_of,
    node_name,
    take_place,
)
from edgekit.spec import Note


def pool_means(graph: ir.Graph) -> tuple[Note, ...]:
    """Rewrite the mean over height and width as GlobalAveragePool, which has an int8 kernel.

    Needs: constants are settled, and the rank of the input is known to be 4. Ensures: no such ReduceMean;
    where it dropped the axes, a Flatten does.
    """
    names = Names(graph)
    replaced = []
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "ReduceMean" else None
        if source is None or source.shape is None or source.shape.rank() != 4 or _axes(node) != {2, 3}:
            continue
        output = node.outputs[0]
        pool = ir.node("GlobalAveragePool", [source], name=node_name(node))
        new = [pool]
        if integer(node, "keepdims", 1) == 0:
            pool.outputs[0].name = names.new(f"{name_of(output)}_pooled")
            pool.outputs[0].type = output.type
            new.append(ir.node("Flatten", [pool.outputs[0]], {"axis": 1}, name=names.new(f"{node.name}_flatten")))
        graph.insert_before(node, new)
        take_place(graph, node, new[-1].outputs[0])
        replaced.append(node_name(pool))
    drop_unused_constants(graph)
    return tuple(Note("pool_means", f"{name} is now GlobalAveragePool, which has an int8 kernel") for name in replaced)


def _axes(node: ir.Node) -> set[int]:
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    wanted = integers(node, "axes", ()) if axes is None else tuple(int(axis) for axis in axes.ravel())
    return {axis % 4 for axis in wanted}
