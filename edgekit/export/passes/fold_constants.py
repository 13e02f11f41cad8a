"""Compute once what does not depend on the image.

Needs constants as initializers. Changes nodes whose inputs are all constant, or that ask for sizes that are
known; without it, padding that torch computes from the image size cannot become part of a convolution.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from edgekit.export._graph import dimensions
from edgekit.export.passes import infer_shapes
from edgekit.export.passes._pass import copy_of
from edgekit.spec import Note

name = "fold-constants"

LARGEST = 1 << 24
"""Elements of the largest tensor that is computed ahead."""


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model with constant expressions replaced by their values."""
    folded = _fold(model)
    # What is padded with a width that was not known before has now a size that is known: once more, layer by
    # layer.
    while (answered := _answer_sizes(folded)) is not None:
        folded = _fold(answered)
    return folded, ()


def _fold(model: ModelProto) -> ModelProto:
    import onnx_ir
    from onnx_ir.passes import common
    from onnxscript.optimizer import fold_constants_ir

    converted = onnx_ir.from_proto(model)
    # onnxscript keeps ConstantOfShape and Transpose to save space; before a Pad they make a few widths.
    fold_constants_ir(
        converted,
        onnx_shape_inference=True,
        input_size_limit=LARGEST,
        output_size_limit=LARGEST,
        should_fold=lambda node: True if node.op_type in {"ConstantOfShape", "Transpose"} else None,
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(converted)
    common.RemoveUnusedNodesPass()(converted)
    return onnx_ir.to_proto(converted)


def _answer_sizes(model: ModelProto) -> ModelProto | None:
    """Replace each question for one known size (Gather of Shape, constant index); None when there is none.

    onnxscript 0.7 answers only when several sizes are asked for at once.
    """
    result = copy_of(infer_shapes.apply(model)[0])
    values = (*result.graph.value_info, *result.graph.input)
    shapes = {value.name: dimensions(value) for value in values}
    asked = {node.output[0]: shapes.get(node.input[0]) for node in result.graph.node if _asks_for_all(node)}
    indices = {tensor.name: tensor for tensor in result.graph.initializer}
    count = 0
    for node in result.graph.node:
        if node.op_type != "Gather" or node.input[1] not in indices:
            continue
        index = numpy_helper.to_array(indices[node.input[1]])
        shape = asked.get(node.input[0])
        if not shape or index.ndim or not isinstance(size := shape[int(index)], int):
            continue
        node.op_type = "Constant"
        del node.input[:], node.attribute[:]
        value = onnx.helper.make_tensor("", onnx.TensorProto.INT64, [], [size])
        node.attribute.append(onnx.helper.make_attribute("value", value))
        count += 1
    return result if count else None


def _asks_for_all(node: NodeProto) -> bool:
    return node.op_type == "Shape" and not node.attribute
