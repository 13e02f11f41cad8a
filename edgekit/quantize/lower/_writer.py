"""The Q/DQ nodes and constants that every flavour is made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.quantize._graph import Names, add_constant, given, name_of, node_name
from edgekit.quantize._layers import bias_of, weight_axis
from edgekit.quantize._parameters import bias_scale, from_rows, quantized_bias, rows_of
from edgekit.quantize._plan import Plan
from edgekit.spec import QuantizationParameters

_TYPES = {"uint8": (np.uint8, ir.DataType.UINT8), "int8": (np.int8, ir.DataType.INT8)}


class Writer:
    """Adds the Q/DQ of one plan to one graph."""

    def __init__(self, graph: ir.Graph, plan: Plan) -> None:
        self.graph = graph
        self._plan = plan
        self._names = Names(graph)
        self._weights: dict[str, ir.Value] = {}

    def new_name(self, wanted: str) -> str:
        """Return a name that the graph does not have yet."""
        return self._names.new(wanted)

    def quantize(self, value: ir.Value, suffix: str = "") -> ir.Value:
        """Put Q and DQ behind an activation and return the dequantized value; nobody reads it yet."""
        name = name_of(value)
        parameters = self._plan.activations[name]
        numpy_type, onnx_type = _TYPES[parameters.dtype]
        base = f"{name}{suffix}"
        scale = add_constant(self.graph, self._names, f"{base}_scale", np.float32(parameters.scale[0]))
        zero_point = add_constant(self.graph, self._names, f"{base}_zero_point", numpy_type(parameters.zero_point[0]))
        quantize = ir.node("QuantizeLinear", [value, scale, zero_point], name=self.new_name(f"{base}_QuantizeLinear"))
        quantized = quantize.outputs[0]
        quantized.name = self.new_name(f"{base}_quantized")
        quantized.type, quantized.shape = ir.TensorType(onnx_type), value.shape
        dequantize = self._dequantize(base, quantized, scale, zero_point)
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], [quantize, dequantize])
        else:
            self.graph.insert_after(producer, [quantize, dequantize])
        return dequantize.outputs[0]

    def quantize_weight(self, node: ir.Node) -> None:
        """Let a layer read its weight through DQ, or through Q and DQ where the flavour keeps weights in float."""
        name = name_of(given(node.inputs[1]))
        if name not in self._weights:
            self._weights[name] = self._dequantized_weight(node, name)
        node.replace_input_with(1, self._weights[name])

    def quantize_bias(self, node: ir.Node) -> None:
        """Let a layer read its bias through DQ of int32, or as the float constant that the plan wants."""
        planned = self._plan.biases.get(node_name(node))
        bias = bias_of(node) if planned is None else planned
        if bias is None:
            return
        if self._plan.flavour.float_bias:
            if planned is not None:
                self._set_bias(node, add_constant(self.graph, self._names, f"{node_name(node)}_bias", planned))
            return
        weight = self._plan.weights[name_of(given(node.inputs[1]))]
        (input_scale,) = self._plan.activations[name_of(given(node.inputs[0]))].scale
        self._set_bias(node, self._dequantized_bias(node, bias, weight, input_scale))

    def _set_bias(self, node: ir.Node, bias: ir.Value) -> None:
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, bias)

    def _dequantized_weight(self, node: ir.Node, name: str) -> ir.Value:
        parameters, integers = self._plan.weights[name], self._plan.integers[name]
        scale = add_constant(self.graph, self._names, f"{name}_scale", np.asarray(parameters.scale, np.float32))
        zero_point = add_constant(
            self.graph, self._names, f"{name}_zero_point", np.asarray(parameters.zero_point, np.int8)
        )
        if self._plan.flavour.float_weights:
            # The float values of the integers, so that Q gives back those and not the nearest ones.
            rows = rows_of(integers, weight_axis(node)) * np.asarray(parameters.scale, np.float32)[:, np.newaxis]
            array = from_rows(rows.astype(np.float32), integers.shape, weight_axis(node))
            values = add_constant(self.graph, self._names, f"{name}_rounded", array)
            attributes = {} if parameters.axis is None else {"axis": parameters.axis}
            quantize = ir.node(
                "QuantizeLinear", [values, scale, zero_point], attributes, name=self.new_name(f"{name}_QuantizeLinear")
            )
            quantize.outputs[0].name = self.new_name(f"{name}_quantized")
            quantize.outputs[0].type, quantize.outputs[0].shape = ir.TensorType(ir.DataType.INT8), values.shape
            self.graph.insert_before(node, quantize)
            source = quantize.outputs[0]
        else:
            source = add_constant(self.graph, self._names, f"{name}_quantized", integers)
        dequantize = self._dequantize(name, source, scale, zero_point, axis=parameters.axis)
        self.graph.insert_before(node, dequantize)
        return dequantize.outputs[0]

    def _dequantized_bias(
        self, node: ir.Node, bias: npt.NDArray[np.float32], weight: QuantizationParameters, input_scale: float
    ) -> ir.Value:
        steps = bias_scale(weight, input_scale)
        name = f"{node_name(node)}_bias"
        integers = add_constant(self.graph, self._names, f"{name}_quantized", quantized_bias(bias, steps))
        scale = add_constant(self.graph, self._names, f"{name}_scale", steps)
        zero_point = add_constant(self.graph, self._names, f"{name}_zero_point", np.zeros(steps.size, np.int32))
        dequantize = self._dequantize(name, integers, scale, zero_point, axis=0)
        self.graph.insert_before(node, dequantize)
        return dequantize.outputs[0]

    def _dequantize(
        self, name: str, integers: ir.Value, scale: ir.Value, zero_point: ir.Value, *, axis: int | None = None
    ) -> ir.Node:
        node = ir.node(
            "DequantizeLinear",
            [integers, scale, zero_point],
            {} if axis is None else {"axis": axis},
            name=self.new_name(f"{name}_DequantizeLinear"),
        )
        node.outputs[0].name = self.new_name(f"{name}_dequantized")
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        node.outputs[0].shape = integers.shape
        return node
