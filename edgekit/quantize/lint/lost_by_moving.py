"""EKL109: a layer that reads integers behind a node that only moves them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgekit.quantize._graph import MOVES
from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, dequantizer, integer_type, label, moved_from, producer, scale


def check(view: View, target: str) -> Iterator[Fault]:
    """Find layers with integer weights behind DequantizeLinear and a node such as Flatten."""
    for layer in view.layers():
        source = _source(layer)
        if source is not None:
            what = f"{label(layer)} reads {label(source)} through {label(_move(layer))}"
            yield Fault(label(layer), what, fixable=_is_fixable(source))


def fix(view: View, layer: ir.Node) -> bool:
    """Quantize behind the move too, with the same parameters."""
    source = _source(layer)
    if source is None or not _is_fixable(source):
        return False
    moved = layer.inputs[0]
    kind = integer_type(source)
    assert moved is not None
    assert kind is not None
    base = label(_move(layer))
    quantize = ir.node("QuantizeLinear", [moved, *source.inputs[1:]], name=view.names.new(f"{base}_QuantizeLinear"))
    quantize.outputs[0].name = view.names.new(f"{base}_quantized")
    quantize.outputs[0].type = ir.TensorType(ir.DataType.from_numpy(kind))
    back = ir.node(
        "DequantizeLinear",
        [quantize.outputs[0], *source.inputs[1:]],
        name=view.names.new(f"{base}_DequantizeLinear"),
    )
    back.outputs[0].name = view.names.new(f"{base}_dequantized")
    back.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    view.graph.insert_before(layer, [quantize, back])
    layer.replace_input_with(0, back.outputs[0])
    return True


def _source(layer: ir.Node) -> ir.Node | None:
    """The DequantizeLinear before the move, None where there is no move or no integers before it."""
    return None if producer(layer.inputs[0], *MOVES) is None else dequantizer(moved_from(layer.inputs[0]))


def _move(layer: ir.Node) -> ir.Node:
    move = producer(layer.inputs[0], *MOVES)
    if move is None:
        raise ValueError(f"{label(layer)} reads no moved tensor")
    return move


def _is_fixable(source: ir.Node) -> bool:
    """Whether one scale holds for the whole tensor, however it is moved, and zero point and type are given."""
    steps = scale(source)
    return steps is not None and steps.size == 1 and len(source.inputs) == 3 and integer_type(source) is not None


RULE = Rule(
    "EKL109",
    "integers lost at a Flatten or Reshape",
    Severity.WARNING,
    CPU,
    "onnxruntime looks for the DequantizeLinear directly before a layer; behind a node that moves values it finds "
    "none, and the layer runs in float",
    "quantize behind the node too, with the same scale",
    check,
    fix,
    "nothing",
)
