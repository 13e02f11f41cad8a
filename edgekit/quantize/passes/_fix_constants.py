"""Initializers that are also inputs of the graph."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.spec import Note


def fix_constants(graph: ir.Graph) -> tuple[Note, ...]:
    """Take initializers off the list of inputs, where old exporters put them.

    Needs: nothing. Ensures: an initializer is a constant, which no caller can override; quantized weights
    need that.
    """
    listed = [value for value in graph.inputs if value.is_initializer()]
    for value in listed:
        graph.inputs.remove(value)
    if not listed:
        return ()
    return (
        Note(
            "fix_constants",
            f"{len(listed)} weights were listed as inputs of the graph; now they are constants",
        ),
    )
