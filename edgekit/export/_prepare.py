"""The order of the graph passes, for graphs that torch made and for graphs that users bring."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import ModelProto

from edgekit.errors import ExportError, ModelError
from edgekit.export._graph import data_inputs, dimensions, opset_of
from edgekit.export._notes import note
from edgekit.export._opset import LOWEST_OPSET, with_opset
from edgekit.export._session import Session, computes_the_same, probe
from edgekit.export.passes import (
    Pass,
    flatten,
    fold_batch_norm,
    fold_constants,
    fuse_hard_swish,
    fuse_pad,
    infer_shapes,
    inline,
    name,
    pool,
    remove_dead,
    separate_biases,
    simplify,
)
from edgekit.spec import Note

# Later passes need what earlier ones do: constants before the patterns that read them, shapes before those
# that depend on ranks, unique names before onnxruntime compares, the removal of what became useless at the
# end.
CLEAN_UP: tuple[Pass, ...] = (
    inline,
    remove_dead,
    fold_constants,
    infer_shapes,
    fuse_pad,
    fold_batch_norm,
    pool,
    flatten,
    fuse_hard_swish,
    name,
    simplify,
    remove_dead,
    separate_biases,
    name,
    infer_shapes,
)


def run(model: ModelProto, passes: Iterable[Pass] = CLEAN_UP) -> tuple[ModelProto, tuple[Note, ...]]:
    """Apply passes one after the other and gather their notes."""
    notes: tuple[Note, ...] = ()
    for step in passes:
        model, more = step.apply(model)
        notes += more
    return model, notes


def prepare(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Clean up an ONNX model that `load_onnx` accepted; its input and output keep their names.

    The opset stays, unless it is older than any that edgekit writes. Batch normalisation and padding move
    into convolutions, hard-swish and pooling take the one form that runtimes quantize; no Identity, Constant,
    Dropout or dead node is left.

    Raises:
        ModelError: EK108 when onnxruntime cannot run the model as it is.
        ExportError: EK403 when the clean-up changed what the model computes, EK404 when its result is not
            valid.
    """
    # Some exporters give two nodes one name, which onnxruntime refuses and edgekit need not.
    current, notes = name.apply(inline.apply(model)[0])
    _require_runnable(current)
    original = current
    if opset_of(model) < LOWEST_OPSET:
        # Edgekit writes nothing older, and the passes need not know how Pad and Clip once were.
        current, notes = with_opset(remove_dead.apply(current)[0], LOWEST_OPSET)
    cleaned, more = run(current)
    notes += more
    require_valid(cleaned)
    if not computes_the_same(original, cleaned):
        raise ExportError(
            "EK403",
            "the clean-up of the graph changed what the model computes",
            hint="export the model again with a newer exporter, or report this model to edgekit",
        )
    batch = (dimensions(data_inputs(model.graph)[0]) or ("",))[0]
    if isinstance(batch, int):
        notes += (note(f"the batch axis is fixed to {batch}: one image at a time; export it with a dynamic batch"),)
    return cleaned, notes


def _require_runnable(model: ModelProto) -> None:
    try:
        Session(model).run(probe(model))
    except Exception as error:  # onnxruntime raises a type of its own for each of its status codes
        raise ModelError(
            "EK108",
            f"onnxruntime cannot run the model: {str(error).strip().splitlines()[0]}",
            hint="export the model again, with operators that onnxruntime has on the CPU",
        ) from error


def require_valid(model: ModelProto) -> None:
    """Raise ExportError EK404 unless onnx's checker, shapes included, accepts the model."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            "EK404",
            f"onnx rejects the model: {str(error).strip().splitlines()[0]}",
            hint="replace the layer that it names, or report this model to edgekit",
        ) from error
