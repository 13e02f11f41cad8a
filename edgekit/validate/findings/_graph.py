"""An ONNX graph as a diagnosis reads it: who makes and reads what, constants computed, and pieces to run alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.validate._session import session

CONVERSIONS: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
# They move values and compute nothing, or keep books about shapes: not layers.
NO_LAYERS: Final = CONVERSIONS | {
    "Cast", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather", "Identity", "Range", "Reshape", "Shape",
    "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
_ACTIVATIONS: Final = frozenset({"Relu", "Clip"})

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """A piece of a graph as a model of its own.

    Attributes:
        model: The piece; None where nothing is computed.
        inputs: Tensors of the graph that it reads.
        outputs: Tensors that it makes of them.
    """

    model: onnx.ModelProto | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Graph:
    """A model's nodes that depend on the image, and the values of everything that does not.

    Args:
        model: An image classifier; it stays as it is.

    Raises:
        ModelError: EK108 when onnxruntime cannot compute its constants.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        graph = model.graph
        self._stored = {item.name: item for item in graph.initializer}
        self.constants: dict[str, Array] = {name: numpy_helper.to_array(item) for name, item in self._stored.items()}
        self.constant_makers: dict[str, onnx.NodeProto] = {}
        self.nodes: list[onnx.NodeProto] = []
        self._all = list(graph.node)
        for node in self._all:
            if all(not name or name in self.constants or name in self.constant_makers for name in node.input):
                self.constant_makers |= dict.fromkeys(filter(None, node.output), node)
            else:
                self.nodes.append(node)
        self.input = next(value.name for value in graph.input if value.name not in self.constants)
        self.output = graph.output[0].name
        dims = next(value.type.tensor_type.shape.dim for value in graph.input if value.name == self.input)
        self.input_shape = tuple(dim.dim_value or None for dim in dims)
        self.constants |= self._computed_constants()
        self.made_by = {output: node for node in self.nodes for output in node.output if output}
        self._place = {id(node): index for index, node in enumerate(self.nodes)}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for source in filter(None, dict.fromkeys(node.input)):
                self._readers.setdefault(source, []).append(node)

    def metadata(self, key: str) -> str | None:
        """Return an entry of the metadata."""
        return next((entry.value for entry in self._model.metadata_props if entry.key == key), None)

    def readers(self, tensor: str) -> Sequence[onnx.NodeProto]:
        """Return the nodes that read a tensor."""
        return self._readers.get(tensor, ())

    def behind_activation(self, tensor: str) -> str:
        """Follow a tensor through the Relu and Clip nodes that alone read it, with or without Q/DQ before them."""
        while (reader := self._only_reader(tensor)) is not None:
            while reader is not None and reader.op_type in CONVERSIONS:
                reader = self._only_reader(reader.output[0])
            if reader is None or reader.op_type not in _ACTIVATIONS:
                break
            tensor = reader.output[0]
        return tensor

    def root(self, tensor: str) -> str:
        """Return the tensor that was quantized and dequantized to make this one, the tensor itself if none was."""
        maker = self.made_by.get(tensor)
        while maker is not None and maker.op_type == "DequantizeLinear":
            quantize = self.made_by.get(maker.input[0])
            if quantize is None or quantize.op_type != "QuantizeLinear":
                break
            tensor = quantize.input[0]
            maker = self.made_by.get(tensor)
        return tensor

    def quantizers(self, tensor: str) -> Iterator[onnx.NodeProto]:
        """Yield the QuantizeLinear nodes that read a tensor."""
        yield from (node for node in self.readers(tensor) if node.op_type == "QuantizeLinear")

    def dequantized(self, root: str) -> Iterator[str]:
        """Yield every tensor that a tensor becomes by being quantized and dequantized, once or several times."""
        for quantize in self.quantizers(root):
            for node in self.readers(quantize.output[0]):
                if node.op_type == "DequantizeLinear":
                    yield node.output[0]
                    yield from self.dequantized(node.output[0])

    def integers(self, root: str) -> Iterator[str]:
        """Yield every integer tensor that a tensor becomes."""
        for tensor in (root, *self.dequantized(root)):
            yield from (node.output[0] for node in self.quantizers(tensor))

    def stops_before(self, tensors: Sequence[str], stops: Collection[str]) -> tuple[str, ...]:
        """Return the tensors of `stops`, or the image, that the given tensors are computed from."""
        return self._walk(tensors, stops)[1]

    def cut(self, outputs: Sequence[str], stops: Collection[str]) -> Segment:
        """Cut out what computes `outputs` from tensors of `stops`, or from the image."""
        nodes, inputs = self._walk(outputs, stops)
        made = tuple(name for name in outputs if name in self.made_by)
        if not made:
            return Segment(None, inputs, ())
        # Weights stay as they are stored: onnxruntime would quantize float weights behind a DequantizeLinear once more.
        nodes = [*self._makers_of(nodes), *nodes]
        used = sorted({name for node in nodes for name in node.input if name in self._stored})
        graph = helper.make_graph(
            nodes,
            "segment",
            [helper.make_tensor_value_info(name, self._type_of(name), None) for name in inputs],
            [onnx.ValueInfoProto(name=name) for name in made],
            [self._stored[name] for name in used],
        )
        return Segment(self._as_model(graph), inputs, made)

    def watching(self, tensors: Sequence[str]) -> onnx.ModelProto:
        """Return the whole model with the given tensors as its outputs."""
        watched = onnx.ModelProto()
        watched.CopyFrom(self._model)
        declared = {output.name: output for output in self._model.graph.output}
        del watched.graph.output[:]
        for name in tensors:
            watched.graph.output.append(declared.get(name, onnx.ValueInfoProto(name=name)))
        return watched

    def _type_of(self, tensor: str) -> int:
        maker = self.made_by.get(tensor)
        if maker is None or maker.op_type != "QuantizeLinear":
            return int(TensorProto.FLOAT)
        point = self.constants.get(maker.input[2]) if len(maker.input) > 2 else None
        return int(TensorProto.UINT8 if point is None else helper.np_dtype_to_tensor_dtype(point.dtype))

    def _only_reader(self, tensor: str) -> onnx.NodeProto | None:
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and tensor != self.output else None

    def _walk(self, outputs: Sequence[str], stops: Collection[str]) -> tuple[list[onnx.NodeProto], tuple[str, ...]]:
        nodes: dict[int, onnx.NodeProto] = {}
        inputs: dict[str, None] = {}
        seen = set(outputs)
        waiting = list(outputs)
        while waiting:
            tensor = waiting.pop()
            maker = self.made_by.get(tensor)
            if maker is None:
                inputs[tensor] = None
                continue
            nodes[self._place[id(maker)]] = maker
            for source in maker.input:
                if not source or source in self.constants or source in seen:
                    continue
                seen.add(source)
                if source in stops:
                    inputs[source] = None
                else:
                    waiting.append(source)
        return [nodes[place] for place in sorted(nodes)], tuple(inputs)

    def _makers_of(self, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Return the nodes that compute the constants of some nodes, in graph order."""
        found: dict[int, onnx.NodeProto] = {}
        waiting = [name for node in nodes for name in node.input]
        while waiting:
            maker = self.constant_makers.get(waiting.pop())
            if maker is not None and id(maker) not in found:
                found[id(maker)] = maker
                waiting.extend(maker.input)
        return [node for node in self._all if id(node) in found]

    def _computed_constants(self) -> Mapping[str, Array]:
        nodes = list({id(node): node for node in self.constant_makers.values()}.values())
        if not nodes:
            return {}
        names = list(self.constant_makers)
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        initializers = list(self._model.graph.initializer)
        graph = helper.make_graph(nodes, "constants", [], outputs, initializers)
        values = session(self._as_model(graph).SerializeToString(), threads=1).run(names, {})
        return dict(zip(names, values, strict=True))

    def _as_model(self, graph: onnx.GraphProto) -> onnx.ModelProto:
        return helper.make_model(
            graph,
            opset_imports=self._model.opset_import,
            functions=self._model.functions,
            ir_version=self._model.ir_version,
        )
