"""Which layers stay in float: candidates, and the choice between them by measured time and measured distance.

Two shapes cover what was seen to pay in MobileNets. A float beginning: the first layers work on the largest tensors
with the fewest channels, gain least from int8 and pass their rounding errors on to everything behind. And float
depthwise layers behind it: onnxruntime's int8 kernels for those are slower than the float ones on many CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgekit.quantize._graph import node_name
from edgekit.quantize._layers import WEIGHTED, Layers, is_depthwise

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
    depthwise = [node_name(node) for node in weighted if is_depthwise(node)]
    names = [node_name(node) for node in weighted]
    counts = [count for count in FIRST if count < len(names)]
    if timed:
        counts = sorted({*counts, *(len(names) * step // STEPS for step in range(1, STEPS - 1))} - {0})
    found = [tuple(names[:count]) for count in counts]
    if timed:
        found += [tuple(dict.fromkeys([*prefix, *depthwise])) for prefix in ((), *found)]
    unique = dict.fromkeys(tuple(sorted(nodes, key=names.index)) for nodes in found)
    return [dict.fromkeys(nodes, REASON) for nodes in sorted(unique, key=len) if 0 < len(nodes) < len(names)]


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
