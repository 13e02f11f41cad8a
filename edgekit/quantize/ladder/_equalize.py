"""Cross-layer equalization: give every channel of an activation the whole range of its integers.

Where a channel runs from one convolution through a Relu, Clip or nothing into other convolutions or linear layers,
scaling it up in the first and down in the others leaves the function as it is, and its rounding errors shrink.
Relu commutes with that. A Clip at 6 does not: it is honest only for a channel that stays below its limit, and only
while it does so after scaling; such a channel is scaled until the largest value seen, and some headroom, meets the
limit. Channels that reach the limit are left alone.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.quantize._graph import Names, add_constant, given, integer, name_of, only_reader
from edgekit.quantize._layers import WEIGHTED, bias_of, is_depthwise, weight_axis, weight_of, why_not_weighted
from edgekit.quantize.ladder._reconstruct import limits_behind
from edgekit.spec import Note

HEADROOM = 1.2
LARGEST_FACTOR = 32.0


def equalize(graph: ir.Graph, magnitudes: Mapping[str, npt.NDArray[np.float32]]) -> tuple[Note, ...]:
    """Scale channels in a canonical FP32 graph, in place, and return what was done.

    Args:
        graph: Canonical FP32 graph.
        magnitudes: Largest magnitude seen of each channel of each activation, by tensor.
    """
    names = Names(graph)
    scaled = 0
    for node in list(graph):
        if node.op_type != "Conv" or why_not_weighted(node) is not None:
            continue
        end, readers = _segment(node)
        if end is None or not readers or name_of(end) not in magnitudes:
            continue
        factors = _factors(magnitudes[name_of(end)], limits_behind(node).high, all(map(is_depthwise, readers)))
        if factors is None:
            continue
        _multiply_outputs(graph, names, node, factors)
        for reader in readers:
            _divide_inputs(graph, names, reader, factors)
        scaled += int((factors != 1).sum())
    if not scaled:
        return (Note("equalize", "no channel could be scaled: every one meets the limit of its activation"),)
    return (Note("equalize", f"{scaled} channels were scaled to use the whole range of their activation"),)


def _segment(node: ir.Node) -> tuple[ir.Value | None, Sequence[ir.Node]]:
    """Return the activation behind a convolution and the layers that read it, nothing when others read it too."""
    value = node.outputs[0]
    reader = only_reader(value)
    if reader is not None and reader.op_type in {"Relu", "Clip"}:
        value = reader.outputs[0]
    readers: list[ir.Node] = []
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current.is_graph_output():
            return None, ()
        for use in current.uses():
            if use.node.op_type in {"GlobalAveragePool", "Flatten"}:
                waiting.append(use.node.outputs[0])
            elif use.node.op_type in WEIGHTED and use.idx == 0 and why_not_weighted(use.node) is None:
                if use.node.op_type == "Conv" and integer(use.node, "group", 1) != 1 and not is_depthwise(use.node):
                    return None, ()
                readers.append(use.node)
            else:
                return None, ()
    return value, readers


def _factors(magnitudes: npt.NDArray[np.float32], limit: float, free: bool) -> npt.NDArray[np.float32] | None:
    """Return what each channel is multiplied by, None when that is 1 for all.

    Args:
        magnitudes: Largest magnitude of each channel.
        limit: Where the activation clips.
        free: Every reader is depthwise, with a weight scale for each channel: scaling then costs no precision there.
    """
    seen = magnitudes.astype(np.float64) * HEADROOM
    target = limit if math.isfinite(limit) else float(seen.max())
    factors = np.where(seen > 0, target / np.maximum(seen, target / LARGEST_FACTOR), 1.0)
    factors = np.maximum(factors, 1.0)
    if not free:
        # What the activation gains in precision, the weights behind it lose: meet in the middle.
        factors = np.sqrt(factors)
    return factors.astype(np.float32) if (factors > 1.001).any() else None


def _multiply_outputs(graph: ir.Graph, names: Names, node: ir.Node, factors: npt.NDArray[np.float32]) -> None:
    weight, bias = weight_of(node), bias_of(node)
    _replace(graph, names, node, 1, weight * factors.reshape(-1, 1, 1, 1))
    if bias is not None:
        _replace(graph, names, node, 2, bias * factors)


def _divide_inputs(graph: ir.Graph, names: Names, node: ir.Node, factors: npt.NDArray[np.float32]) -> None:
    weight = weight_of(node)
    if node.op_type == "Conv":
        shape: tuple[int, ...] = (-1, 1, 1, 1) if is_depthwise(node) else (1, -1, 1, 1)
    else:
        shape = (1, -1) if weight_axis(node) == 0 else (-1, 1)
    _replace(graph, names, node, 1, weight / factors.reshape(shape))


def _replace(graph: ir.Graph, names: Names, node: ir.Node, index: int, array: npt.NDArray[np.float32]) -> None:
    old = given(node.inputs[index])
    new = add_constant(graph, names, f"{name_of(old)}_equalized", array.astype(np.float32))
    node.replace_input_with(index, new)
    if not old.uses() and old.name in graph.initializers:
        # The old name stays with the weight, so that reports before and after speak of the same thing.
        name = name_of(old)
        del graph.initializers[name]
        del graph.initializers[name_of(new)]
        new.name = name
        graph.register_initializer(new)
