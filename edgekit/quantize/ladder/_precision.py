"""Which layers stay in float: candidates, and the choice between them by measured time and measured distance.

What was seen to pay in MobileNets is a float beginning: the first layers work on the largest tensors with the fewest
channels, gain least from int8 and pass their rounding errors on to everything behind. A float layer between quantized
ones, such as a depthwise convolution whose int8 kernel is slow, is no candidate: onnxruntime rounds the float weights
of a Conv between DequantizeLinear and QuantizeLinear to int8 per tensor, unasked (its WeightBiasQuantization), which
took MobileNetV1 0.25 from 94 % agreement to 83 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgekit.quantize._graph import node_name
from edgekit.quantize._layers import WEIGHTED, Layers

FIRST = (1, 2, 3, 4, 6)
STEPS = 8
WITHIN_TIME = 1.05
CLEARLY = 1.10
WITHIN_DISTANCE = 1.15
# Below this many nats int8 everywhere is as good as float, unless it is slower.
CLOSE_ENOUGH = 1e-3
REASON = "measured: int8 costs more here than it saves"


def candidates(graph: ir.Graph, layers: Layers, *, timed: bool) -> list[dict[str, str]]:
    """Return sets of nodes to keep in float, each node with the reason, fewest first; the empty set is not in it.

    Args:
        graph: Canonical FP32 graph.
        layers: What could run in int8.
        timed: The candidates can be timed, so that those are worth trying that only speed tells apart.
    """
    weighted = [node for node in graph if node.op_type in WEIGHTED and node in layers.integer]
    names = [node_name(node) for node in weighted]
    counts = [count for count in FIRST if count < len(names)]
    if timed:
        counts = sorted({*counts, *(len(names) * step // STEPS for step in range(1, STEPS - 1))} - {0})
    return [dict.fromkeys(names[:count], REASON) for count in counts]


def fast_ones(times: Sequence[float]) -> list[int]:
    """Return the indices of the candidates that are about as fast as the fastest.

    The first, which is int8 everywhere, is among them unless it is clearly slower: what timing noise could turn
    round must not decide.
    """
    fastest = min(times)
    limits = [CLEARLY * fastest, *([WITHIN_TIME * fastest] * (len(times) - 1))]
    return [index for index, (seconds, limit) in enumerate(zip(times, limits, strict=True)) if seconds <= limit]


def nearest(distances: Sequence[float]) -> int:
    """Return the first index, which is the one with fewest layers in float, that is about as near as the nearest."""
    limit = WITHIN_DISTANCE * min(distances)
    return next(index for index, distance in enumerate(distances) if distance <= limit)
