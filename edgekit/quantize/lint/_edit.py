"""The few changes that the fixes are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.quantize._graph import add_constant, constant, integer
from edgekit.quantize.lint._view import (
    LAYERS,
    View,
    bias_values,
    dequantizer,
    integer_type,
    label,
    operand,
    scale,
    weight_conversion,
    zero_point,
)

_INT32_MAX = 2**31 - 1


def set_parameters(
    view: View,
    conversions: Sequence[ir.Node],
    steps: npt.NDArray[Any],
    zeros: npt.NDArray[Any],
    axis: int | None = None,
) -> None:
    """Give conversions other scales and zero points; the type of `zeros` is that of their integers."""
    base = label(conversions[0])
    new_scale = add_constant(view.graph, view.names, f"{base}_scale", np.asarray(steps, np.float32))
    new_zero = add_constant(view.graph, view.names, f"{base}_zero_point", zeros)
    for node in conversions:
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(1, new_scale)
        node.replace_input_with(2, new_zero)
        node.attributes.pop("output_dtype", None)
        node.attributes.pop("axis", None)
        if axis is not None:
            node.attributes["axis"] = ir.AttrInt64("axis", axis)
        if node.op_type == "QuantizeLinear":
            node.outputs[0].type = ir.TensorType(ir.DataType.from_numpy(zeros.dtype))


def set_integers(view: View, conversion: ir.Node, integers: npt.NDArray[Any]) -> None:
    """Let a DequantizeLinear read other constant integers."""
    conversion.replace_input_with(0, add_constant(view.graph, view.names, f"{label(conversion)}_integers", integers))


def replace_reads(old: ir.Value, new: ir.Value) -> None:
    """Let every node that reads `old` read `new`."""
    for use in tuple(old.uses()):
        use.node.replace_input_with(use.idx, new)


def remove_unread(view: View, *nodes: ir.Node) -> None:
    """Remove those of the given nodes that nothing reads, the last first."""
    for node in reversed(nodes):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            view.graph.remove(node, safe=True)


def layers_behind(conversions: Sequence[ir.Node]) -> list[ir.Node]:
    """Return the layers whose activation is what the given DequantizeLinear nodes write."""
    uses = (use for node in conversions if node.op_type == "DequantizeLinear" for use in node.outputs[0].uses())
    return [use.node for use in uses if use.idx == 0 and use.node.op_type in LAYERS]


def expected_bias_scale(layer: ir.Node) -> npt.NDArray[np.float32] | None:
    """Return the product of input and weight scale, one a channel or one; None when one is not constant."""
    source, weight = dequantizer(layer.inputs[0]), weight_conversion(layer)
    steps = None if source is None else scale(source)
    widths = None if weight is None else scale(weight)
    if steps is None or widths is None or steps.size != 1:
        return None
    product: npt.NDArray[np.float32] = np.float32(steps[0]) * widths.astype(np.float32)
    return product


def fits_int32(values: npt.NDArray[Any], steps: npt.NDArray[Any]) -> bool:
    """Tell whether a bias can be stored in int32 with these scales."""
    return bool(np.all(steps > 0) and np.all(np.abs(values) <= _INT32_MAX * steps.astype(np.float64)))


def quantize_bias(view: View, layer: ir.Node) -> bool:
    """Store the bias of a layer in int32, in the steps that its integer kernel counts in.

    Returns:
        Whether it could be done; False without a constant bias and where it does not fit.
    """
    values = bias_values(layer)
    steps = expected_bias_scale(layer)
    if values is None or values.ndim != 1 or steps is None or not fits_int32(values, steps):
        return False
    integers = np.rint(values.astype(np.float64) / steps.astype(np.float64)).astype(np.int32)
    one = steps.size == 1
    node = ir.node("DequantizeLinear", [None, None, None], name=view.names.new(f"{label(layer)}_bias_DequantizeLinear"))
    node.outputs[0].name = view.names.new(f"{label(layer)}_bias_dequantized")
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    node.outputs[0].shape = ir.Shape(integers.shape)
    set_integers(view, node, integers)
    set_parameters(
        view,
        [node],
        steps.reshape(()) if one else steps,
        np.zeros(() if one else steps.shape, np.int32),
        None if one else 0,
    )
    view.graph.insert_before(layer, node)
    before = operand(layer, 2)
    layer.replace_input_with(2, node.outputs[0])
    while before is not None and (maker := before.producer()) is not None and not before.uses():
        before = maker.inputs[0]
        remove_unread(view, maker)
    return True


def shift_to(view: View, conversions: Sequence[ir.Node], kind: npt.DTypeLike) -> None:
    """Turn int8 into uint8 or back: integers and zero point move by 128, so every value stays what it is."""
    steps, zeros = scale(conversions[0]), zero_point(conversions[0])
    before = integer_type(conversions[0])
    if steps is None or zeros is None or before is None:
        raise ValueError("only constant parameters can be shifted")
    moved = np.iinfo(np.dtype(kind)).min - np.iinfo(before).min
    axis = integer(conversions[0], "axis", 1) if steps.size > 1 else None
    for node in conversions:
        integers = constant(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
        if integers is not None:
            set_integers(view, node, (integers.astype(np.int64) + moved).astype(kind))
    shape = steps.shape if steps.size > 1 else ()
    zeros = np.broadcast_to(zeros + moved, steps.shape).astype(kind).reshape(shape)
    set_parameters(view, conversions, steps.reshape(shape), zeros, axis)
