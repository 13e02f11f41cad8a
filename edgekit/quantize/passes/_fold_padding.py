"""Zero padding as a node of its own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import constant, drop_unused_constants, integers, node_name, only_reader
from edgekit.spec import Note


def fold_padding(graph: ir.Graph) -> tuple[Note, ...]:
    """Move zero padding of height and width from a Pad node into the convolution behind it.

    Needs: constants are settled. Ensures: no zero Pad before a Conv that could do it; the padding then
    costs nothing and is the zero point in int8.
    """
    folded = []
    for node in list(graph):
        convolution = only_reader(node.outputs[0]) if node.op_type == "Pad" else None
        if convolution is None or convolution.op_type != "Conv":
            continue
        padding = _spatial_zeros(node)
        source = node.inputs[0]
        automatic = convolution.attributes.get("auto_pad")
        if padding is None or source is None or (automatic and automatic.as_string() not in {"NOTSET", "VALID"}):
            continue
        pads = integers(convolution, "pads", (0,) * len(padding))
        total = [own + extra for own, extra in zip(pads, padding, strict=True)]
        convolution.attributes["pads"] = ir.AttrInt64s("pads", total)
        convolution.attributes.pop("auto_pad", None)
        convolution.replace_input_with(0, source)
        graph.remove(node, safe=True)
        folded.append(node_name(convolution))
    drop_unused_constants(graph)
    return tuple(Note("fold_padding", f"the padding before {name} is now part of it") for name in folded)


def _spatial_zeros(node: ir.Node) -> tuple[int, ...] | None:
    """The padding in the order of Conv's `pads`, None when it is not just zeros around height and width."""
    mode = node.attributes.get("mode")
    if (mode and mode.as_string() != "constant") or len(node.inputs) > 3:
        return None
    pads = constant(node.inputs[1])
    if pads is None or len(pads) < 6 or min(pads.tolist()) < 0:
        return None
    if len(node.inputs) == 3 and node.inputs[2] is not None:
        filler = constant(node.inputs[2])
        if filler is None or np.any(filler != 0):
            return None
    begin, end = np.split(pads, 2)
    if begin[:2].any() or end[:2].any():
        return None
    return tuple(int(size) for size in (*begin[2:], *end[2:]))
