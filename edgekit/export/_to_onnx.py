"""From a torch module to the FP32 ONNX model that everything else starts from."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto

import edgekit
from edgekit.errors import ExportError
from edgekit.export import _legacy
from edgekit.export._fold import fold_batch_norm
from edgekit.export._graph import STANDARD_DOMAINS, opset_of
from edgekit.export._opset import require_expressible, require_supported, set_ir_version, with_opset
from edgekit.export._prepare import require_valid, run
from edgekit.spec import Note

if TYPE_CHECKING:
    from torch import nn

INPUT = "input"
OUTPUT = "output"
NO_METADATA: Mapping[str, str] = MappingProxyType({})


def to_onnx(
    module: nn.Module, *, input_size: int, opset: int = 17, metadata: Mapping[str, str] = NO_METADATA
) -> tuple[ModelProto, tuple[Note, ...]]:
    """Export a classifier as a clean ONNX model of exactly this opset.

    The model takes float32 `input` (batch, 3, input_size, input_size) and returns float32 `output` (batch,
    classes); `batch` is symbolic. Batch normalisation and padding are part of the convolutions. The same
    module gives the same bytes.

    Args:
        module: Takes float32 (N, 3, H, W), returns logits (N, classes). It is not changed.
        input_size: H and W, in pixels.
        opset: Version of the ONNX operator set, 13 to 21.
        metadata: Written to the model's `metadata_props`.

    Raises:
        ModelError: EK110 when a weight is NaN or infinite.
        ExportError: EK401 opset not supported, EK402 a node prevents the opset, EK404 the result is not valid
            ONNX.
    """
    require_supported(opset)
    folded, notes = fold_batch_norm(module)
    model = _export(folded, input_size, min(opset, _legacy.HIGHEST))
    _require_standard_operators(model)
    require_valid(model)
    model, more = run(model)
    notes += more
    if opset_of(model) != opset:
        model, more = with_opset(model, opset)
        notes += more
    _describe(model, metadata)
    require_valid(model)
    if opset_of(model) != opset:
        raise ExportError(
            "EK402",
            f"the exporter wrote opset {opset_of(model)} instead of {opset}",
            hint="install a version of torch that edgekit is tested with",
        )
    return model, notes


def _export(module: nn.Module, input_size: int, opset: int) -> ModelProto:
    try:
        return _legacy.export(module, input_size=input_size, opset=opset, input_name=INPUT, output_name=OUTPUT)
    except _legacy.UnsupportedOperatorError as error:
        _name_the_node(module, input_size, opset)
        raise ExportError(
            "EK402",
            f"torch cannot write the module at opset {opset}: {error}",
            where=type(module).__name__,
            hint="replace the layer that uses this operator",
        ) from error


def _name_the_node(module: nn.Module, input_size: int, opset: int) -> None:
    """Raise ExportError EK402 with the node's name, when a newer opset can express what this one cannot.

    torch names only its own operator; the graph of the newest opset tells which layer it belongs to.
    """
    try:
        newest = _legacy.export(
            module, input_size=input_size, opset=_legacy.HIGHEST, input_name=INPUT, output_name=OUTPUT
        )
    except _legacy.UnsupportedOperatorError:
        return
    require_expressible(run(newest)[0], opset)


def _require_standard_operators(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            raise ExportError(
                "EK404",
                f"operator {node.domain}::{node.op_type} is not part of ONNX",
                where=f"node {node.name}",
                hint="replace the layer by one that ONNX has operators for",
            )


def _describe(model: ModelProto, metadata: Mapping[str, str]) -> None:
    set_ir_version(model)
    model.producer_name = "edgekit"
    model.producer_version = edgekit.__version__
    model.doc_string = ""
    model.graph.name = "edgekit"
    onnx.helper.set_model_props(model, dict(metadata))
