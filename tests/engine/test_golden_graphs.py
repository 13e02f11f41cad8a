"""What each generation of TensorRT gets, as text: a change to lowering shows as a difference of these files.

Set EDGEKIT_WRITE_GOLDEN=1 to write the files anew, and read their difference before committing them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.calibrate import collect, ranges
from edgekit.engine import lower
from edgekit.models import Overrides
from edgekit.pipeline.sources import open_source
from edgekit.quantize import FLAVOURS, quantize_static, tensors_to_calibrate
from edgekit.quantize import plan as plan_quantization
from edgekit.spec import Quantization
from edgekit.targets import BuildPlan, Wishes, facts_of, load_card, opset_for, plan

GOLDEN = Path(__file__).parent / "golden"
SMALL = Overrides(input_size=64, num_classes=10, width=0.25)
FLOAT = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
INT8 = ("mobilenet_v2", "mobilenet_v3_small")
# Generation of TensorRT → a card with it and its JetPack. A Nano has 8.2 too, but no INT8.
GENERATIONS = {
    "8.2": ("jetson-xavier-nx", "4.6.1"),
    "8.6": ("jetson-orin-nano", "6.0"),
    "10.3": ("jetson-orin-nano", "6.2"),
    "11": ("jetson-agx-orin", None),
}
CASES = [(name, generation, "float") for name in FLOAT for generation in GENERATIONS] + [
    (name, generation, "int8") for name in INT8 for generation in GENERATIONS
]
MOST_VALUES = 8


@functools.cache
def fp32(name: str, opset: int) -> onnx.ModelProto:
    return open_source(name, SMALL, opset).model


@functools.cache
def int8(name: str, opset: int, flavour: str) -> onnx.ModelProto:
    model, form = fp32(name, opset), FLAVOURS[flavour]
    images = iter([np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)])
    summaries = collect(model, images, tensors_to_calibrate(model, form), threads=1)
    return quantize_static(model, plan_quantization(model, ranges(summaries, "minmax", symmetric=True), form))[0]


def lowered(name: str, generation: str, kind: str) -> tuple[onnx.ModelProto, BuildPlan]:
    target, jetpack = GENERATIONS[generation]
    card = load_card(target)
    wish: Quantization = "static" if kind == "int8" else "none"
    wishes = Wishes(wish, jetpack=jetpack)
    opset = opset_for(card, wishes)
    assert opset is not None
    model = fp32(name, opset)
    chosen = plan(facts_of(model), card, wishes)
    if kind == "int8":
        model = int8(name, opset, chosen.flavour)
        chosen = plan(facts_of(model), card, wishes)
    return lower(model, chosen)[0], chosen


def dump(model: onnx.ModelProto) -> Iterator[str]:
    """Yield a line a node: operator, name, inputs → outputs; attributes. Constants are in brackets, without weights."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    values = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}

    def told(name: str, operator: str) -> str:
        if not name:
            return "-"
        if name not in constants:
            kind = values[name]
            return f"{name} {type_name(kind.elem_type)} {shape_text([dim.dim_value for dim in kind.shape.dim])}"
        tensor = constants[name]
        text = f"{type_name(tensor.data_type)} {shape_text(tensor.dims)}".rstrip()
        return f"[{text}{value_text(numpy_helper.to_array(tensor), operator)}]"

    yield f"opset {', '.join(str(entry.version) for entry in model.opset_import)}, IR {model.ir_version}"
    for label, side in (("input", graph.input), ("output", graph.output)):
        yield from (f"{label} {told(value.name, '')}" for value in side)
    for node in graph.node:
        sources, targets = (", ".join(told(name, node.op_type) for name in side) for side in (node.input, node.output))
        attributes = " ".join(
            f"{attribute.name}={attribute_text(attribute)}"
            for attribute in sorted(node.attribute, key=lambda a: a.name)
        )
        yield f"{node.op_type} {node.name}: {sources} -> {targets}{'; ' if attributes else ''}{attributes}"


def type_name(number: int) -> str:
    return str(TensorProto.DataType.Name(number)).lower()


def shape_text(lengths: Iterable[int]) -> str:
    return "x".join(map(str, lengths))


def value_text(array: np.ndarray, operator: str) -> str:
    """Return the value of what is structure and not weights: shapes, zero points, bounds; not the measured scales."""
    structure = array.size <= MOST_VALUES and (array.dtype.kind in "iu" or not array.ndim)
    if not structure or (array.dtype.kind == "f" and operator in ("QuantizeLinear", "DequantizeLinear")):
        return ""
    return " = " + ",".join(f"{value:.4g}" for value in array.ravel().tolist())


def attribute_text(attribute: onnx.AttributeProto) -> str:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    return ",".join(f"{part:.4g}" for part in (value if hasattr(value, "__iter__") else [value]))


@pytest.mark.parametrize(("name", "generation", "kind"), CASES)
def test_the_lowered_graph_is_the_golden_one(name: str, generation: str, kind: str) -> None:
    model, chosen = lowered(name, generation, kind)
    assert chosen.tensorrt.startswith(generation)
    assert chosen.precision == ("int8" if kind == "int8" else "fp16")
    file = GOLDEN / f"{name}-{generation}-{chosen.precision}.txt"
    lines = [f"TensorRT {chosen.tensorrt}, {chosen.precision}, {chosen.typing} typing", *dump(model)]
    if os.environ.get("EDGEKIT_WRITE_GOLDEN") == "1":
        file.write_text("\n".join(lines) + "\n")
    assert lines == file.read_text().splitlines()


def test_every_golden_graph_belongs_to_a_case() -> None:
    precisions = {"float": "fp16", "int8": "int8"}
    assert {path.name for path in GOLDEN.iterdir()} == {
        f"{name}-{generation}-{precisions[kind]}.txt" for name, generation, kind in CASES
    }
