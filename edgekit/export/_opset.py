"""Operator set versions: which ones edgekit writes, and how to get from one to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper

from edgekit.errors import ExportError
from edgekit.export._graph import STANDARD_DOMAINS, opset_of
from edgekit.export._notes import note
from edgekit.export._session import computes_the_same
from edgekit.export.passes import expand_hard_swish
from edgekit.spec import Note

LOWEST_OPSET = 13
HIGHEST_OPSET = 21

# The oldest IR version that may hold each opset (onnx.helper.VERSION_TABLE), so that old runtimes load the
# file. Opset 13 was released with IR 7, and TensorRT 8.2 has seen no other for it.
_IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def require_supported(opset: int) -> None:
    """Raise ExportError EK401 unless edgekit writes this opset."""
    if LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        return
    if opset < LOWEST_OPSET:
        reason = "13 is the first whose QuantizeLinear has one scale per channel"
    else:
        reason = f"{HIGHEST_OPSET} is the newest that edgekit is tested with"
    raise ExportError(
        "EK401",
        f"opset {opset} is outside {LOWEST_OPSET} to {HIGHEST_OPSET}: {reason}",
        where="--opset",
        hint=f"choose {LOWEST_OPSET} to {HIGHEST_OPSET}: 13 for the oldest runtimes, 17 for most",
    )


def set_ir_version(model: ModelProto) -> None:
    """Give a model of a supported opset the oldest IR version that may hold it."""
    model.ir_version = _IR_VERSIONS[opset_of(model)]


def with_opset(model: ModelProto, opset: int) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return the model in exactly this opset, computing the same.

    Below 14 a HardSwish becomes HardSigmoid and Mul. What onnx.version_converter cannot convert keeps its
    nodes, provided that each of them is valid there. The result is compared with the original.

    Raises:
        ExportError: EK401 when edgekit does not write the opset, EK402 naming the node that prevents it.
    """
    require_supported(opset)
    source = opset_of(model)
    if source == opset:
        result = ModelProto()
        result.CopyFrom(model)
        set_ir_version(result)
        return result, ()
    notes: tuple[Note, ...] = ()
    start = model
    if opset < expand_hard_swish.FIRST_OPSET_WITH_HARD_SWISH:
        start, notes = expand_hard_swish.apply(start)
    require_expressible(start, opset)
    converted = _convert(start, opset)
    set_ir_version(converted)
    if not computes_the_same(model, converted):
        raise ExportError(
            "EK402",
            f"the conversion from opset {source} to {opset} changes what the model computes",
            hint=f"keep opset {source}, or export the model again at opset {opset}",
        )
    return converted, (*notes, note(f"converted from opset {source} to {opset}"))


def _convert(model: ModelProto, opset: int) -> ModelProto:
    """Convert with onnx; where it knows no way, keep the nodes if each of them is valid there."""
    try:
        converted = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(converted, full_check=True)
        return converted
    except (RuntimeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        # Mostly "No Adapter From Version $14 for Mul": new types make a new version of an operator, and onnx
        # knows few ways back even where the node uses none of them.
        return _relabelled(model, opset)


def _relabelled(model: ModelProto, opset: int) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    for entry in result.opset_import:
        if entry.domain in STANDARD_DOMAINS:
            entry.version = opset
    context = onnx.checker.C.CheckerContext()
    context.ir_version = _IR_VERSIONS[opset]
    context.opset_imports = {"": opset}
    for node in result.graph.node:
        _drop_new_defaults(node, opset_of(model), opset)
        try:
            onnx.checker.check_node(node, context)
        except onnx.checker.ValidationError as error:
            raise _prevented(node, opset_of(model), opset, str(error)) from error
    try:
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _prevented(None, opset_of(model), opset, str(error)) from error
    return result


def _drop_new_defaults(node: NodeProto, source: int, opset: int) -> None:
    """Drop attributes that the older operator does not have, where they say what it does anyway."""
    before, after = (onnx.defs.get_schema(node.op_type, version).attributes for version in (source, opset))
    kept = [attribute for attribute in node.attribute if attribute.name in after or not _is_default(attribute, before)]
    del node.attribute[:]
    node.attribute.extend(kept)


def _is_default(attribute: AttributeProto, known: Mapping[str, onnx.defs.OpSchema.Attribute]) -> bool:
    if attribute.name not in known:
        return False
    default = known[attribute.name].default_value
    return bool(helper.get_attribute_value(attribute) == helper.get_attribute_value(default))


def _prevented(node: NodeProto | None, source: int, opset: int, why: str) -> ExportError:
    reason = why.strip().splitlines()[0].rstrip(".")
    what = f"operator {node.op_type} of opset {source}" if node else f"a model of opset {source}"
    return ExportError(
        "EK402",
        f"{what} cannot be written at opset {opset} ({reason})",
        where=f"node {_label(node)}" if node else "",
        hint=f"keep opset {source}, or export the model again at opset {opset}",
    )


def require_expressible(model: ModelProto, opset: int) -> None:
    """Raise ExportError EK402 for the first node whose operator does not exist at this opset."""
    for node in _nodes(model.graph):
        if node.domain not in STANDARD_DOMAINS or onnx.defs.has(node.op_type, opset):
            continue
        since = _first_version(node.op_type)
        raise ExportError(
            "EK402",
            f"operator {node.op_type} does not exist at opset {opset}" + (f", it came with {since}" if since else ""),
            where=f"node {_label(node)}",
            hint=f"ask for opset {since} or newer, or replace the layer" if since else "replace the layer",
        )


def _first_version(operator: str) -> int | None:
    versions = [schema.since_version for schema in onnx.defs.get_all_schemas_with_history() if schema.name == operator]
    return min(versions, default=None)


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _label(node: NodeProto) -> str:
    return node.name or f"that makes {', '.join(node.output)}"
