"""All calibration images through a network at once, node by node, in float and rounded side by side.

A layer is corrected while what it reads is already what the integers before it make of the images. Every
value is kept until its last reader is done, the rounded side as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir
import torch

from edgekit.quantize._graph import given, name_of, node_name
from edgekit.quantize._layers import WEIGHTED
from edgekit.quantize._plan import Plan
from edgekit.quantize.ladder._network import Network, codes, compute, planned, real
from edgekit.spec import QuantizationParameters


class Layer:
    """One int8 layer in front of all images.

    Attributes:
        node: The layer.
        plan: The plan so far: what stands before the layer is settled.
        walk_chunks: How many chunks `chunks` yields.
    """

    def __init__(self, walk: Walk, node: ir.Node, plan: Plan) -> None:
        self.node = node
        self.plan = plan
        self._walk = walk
        self.walk_chunks = walk.chunks

    def chunks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (what the layer reads as integers leave it, what it should write before any activation)."""
        for index, source in enumerate(self.sources()):
            inputs = self._walk.network.inputs(self.node, self._walk.floats(index))
            yield source, compute(self.node, inputs)

    def sources(self) -> Iterator[torch.Tensor]:
        """Yield what the layer reads as integers leave it."""
        source = given(self.node.inputs[0])
        for index in range(self._walk.chunks):
            yield self._walk.rounded(source, index)


class Walk:
    """The state of a walk: one list of chunks for each value that is still needed."""

    def __init__(self, network: Network, images: torch.Tensor) -> None:
        self.network = network
        parts = torch.split(images, network.chunk)
        self.chunks = len(parts)
        self._float = [{network.input: part} for part in parts]
        self._codes: list[dict[ir.Value, torch.Tensor]] = [{} for _ in parts]
        self._parameters: dict[ir.Value, QuantizationParameters | None] = {}

    def run(
        self,
        plan: Plan,
        correct: Callable[[Layer], Plan],
        progress: Callable[[], None] = lambda: None,
    ) -> Plan:
        """Let `correct` change the plan at each int8 layer, in graph order, and return the last plan."""
        network = self.network
        for index in range(self.chunks):
            self._store(network.input, index, self._float[index][network.input], plan)
        for node, last in zip(network.nodes, network.last_uses(), strict=True):
            if node.op_type in WEIGHTED and node_name(node) in plan.integer_nodes:
                plan = correct(Layer(self, node, plan))
                progress()
            weight, bias = planned(node, plan)
            for index in range(self.chunks):
                floats = self.floats(index)
                inputs = [None if value is None else self._input(value, index) for value in node.inputs]
                output = compute(node, inputs, weight, bias)
                floats[node.outputs[0]] = compute(node, network.inputs(node, floats))
                self._store(node.outputs[0], index, output, plan)
                for value in last:
                    floats.pop(value, None)
                    self._codes[index].pop(value, None)
        return plan

    def floats(self, index: int) -> dict[ir.Value, torch.Tensor]:
        """Return the float values of a chunk that are still needed."""
        return self._float[index]

    def rounded(self, value: ir.Value, index: int) -> torch.Tensor:
        """Return a value of a chunk as the integers leave it."""
        stored, parameters = self._codes[index][value], self._parameters[value]
        return stored if parameters is None else real(stored, parameters)

    def _input(self, value: ir.Value, index: int) -> torch.Tensor | None:
        return self.rounded(value, index) if value in self._codes[index] else self.network.constant(value)

    def _store(self, value: ir.Value, index: int, tensor: torch.Tensor, plan: Plan) -> None:
        parameters = plan.activations.get(name_of(value))
        self._parameters[value] = parameters
        self._codes[index][value] = tensor if parameters is None else codes(tensor, parameters)
