"""Reading an ONNX file that a user gives: nothing in it is trusted before it is checked. No torch here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, numpy_helper

from edgekit.errors import ModelError
from edgekit.export import _external
from edgekit.export._graph import STANDARD_DOMAINS, data_inputs, dimensions, opset_of

IMAGE_CHANNELS = 3
# A protobuf of ONNX starts with field 1, ir_version: a file that does so and still cannot be parsed was ONNX
# once.
_FIRST_BYTE = b"\x08"


def load_onnx(path: Path) -> ModelProto:
    """Read an image classifier from an ONNX file, external weights included.

    It takes one float32 batch of images (N, 3, H, W) and returns logits (N, classes); N may be fixed to 1.

    Raises:
        ModelError: EK101 no such file, EK102 not ONNX, EK104 damaged, EK108 not a classifier of this form,
            EK109 refers to data outside its folder, EK110 weights hold NaN or infinity.
    """
    model = _parse(path)
    _external.load(model, path)
    _require_readable(model, path)
    _require_sound_weights(model, path)
    _require_standard_operators(model, path)
    _require_valid(model, path)
    _require_image_input(model, path)
    _require_logits(model, path)
    return model


def _parse(path: Path) -> ModelProto:
    if not path.is_file():
        raise ModelError("EK101", "there is no such file", where=str(path), hint="check the path")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            "EK101",
            f"the file cannot be read ({error.strerror})",
            where=str(path),
            hint="check its permissions",
        ) from error
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        if content.startswith(_FIRST_BYTE):
            raise _damaged(path, "the file cannot be parsed as ONNX, it ends early or was changed") from error
        raise _not_onnx(path) from error
    if not model.ir_version or not model.graph.node:
        raise _not_onnx(path)
    return model


def _not_onnx(path: Path) -> ModelError:
    return ModelError(
        "EK102",
        "the file is not an ONNX model",
        where=str(path),
        hint="give an ONNX file, or a checkpoint and --arch",
    )


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError("EK104", what, where=str(path), hint="copy or download the file again, or export it again")


def _unusable(path: Path, what: str, hint: str) -> ModelError:
    return ModelError("EK108", what, where=str(path), hint=hint)


def _require_readable(model: ModelProto, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    if model.ir_version > onnx.IR_VERSION or opset_of(model) > newest:
        raise _unusable(
            path,
            f"it has IR version {model.ir_version} and opset {opset_of(model)}, "
            f"newer than the {onnx.IR_VERSION} and {newest} that the installed onnx reads",
            "upgrade onnx, or export the model with an older opset",
        )
    if not opset_of(model):
        raise _damaged(path, "the file does not say which opset it uses")


def _require_sound_weights(model: ModelProto, path: Path) -> None:
    for tensor in model.graph.initializer:
        try:
            values = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
            raise _damaged(path, f"weight {tensor.name!r} does not hold what its shape says") from error
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(
                "EK110",
                f"weight {tensor.name!r} holds NaN or infinity",
                where=str(path),
                hint="training diverged or the file is damaged: take an earlier checkpoint",
            )


def _require_standard_operators(model: ModelProto, path: Path) -> None:
    functions = {(function.domain, function.name) for function in model.functions}
    bodies = [node for function in model.functions for node in function.node]
    for node in (*model.graph.node, *bodies):
        if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in functions:
            label = node.name or ", ".join(node.output)
            raise _unusable(
                path,
                f"node {label!r} uses operator {node.domain}::{node.op_type}, which is not ONNX's own",
                "export the model without operators of a particular runtime",
            )


def _require_valid(model: ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _damaged(path, f"onnx rejects the file: {str(error).strip().splitlines()[0]}") from error


def _require_image_input(model: ModelProto, path: Path) -> None:
    images = _only(data_inputs(model.graph), "input", path)
    shape = dimensions(images)
    hint = "export the model so that it takes float32 images (N, 3, H, W)"
    if images.type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(images.type.tensor_type.elem_type)
        raise _unusable(path, f"input {images.name!r} is of type {kind}, not FLOAT", hint)
    if shape is None or len(shape) != 4:
        raise _unusable(path, f"input {images.name!r} has shape {_text(shape)}, not (N, 3, H, W)", hint)
    if shape[3] == IMAGE_CHANNELS != shape[1]:
        raise _unusable(path, f"input {images.name!r} has shape {_text(shape)}: channels come last", hint)
    if shape[1] != IMAGE_CHANNELS:
        raise _unusable(path, f"input {images.name!r} has shape {_text(shape)}, not three channels", hint)
    if isinstance(shape[0], int) and shape[0] != 1:
        raise _unusable(
            path,
            f"the batch axis of input {images.name!r} is fixed to {shape[0]}",
            "export the model with a dynamic batch axis, or with a batch of 1",
        )


def _require_logits(model: ModelProto, path: Path) -> None:
    hint = "export the model so that it returns one float32 tensor of logits (N, classes)"
    logits = _only(list(model.graph.output), "output", path)
    shape = dimensions(logits)
    if shape is None:
        inferred: GraphProto = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shape = dimensions(inferred.output[0])
    if logits.type.tensor_type.elem_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(logits.type.tensor_type.elem_type)
        raise _unusable(path, f"output {logits.name!r} is of type {kind}, not FLOAT", hint)
    if shape is None or len(shape) != 2:
        raise _unusable(path, f"output {logits.name!r} has shape {_text(shape)}, not (N, classes)", hint)


def _only(values: list[ValueInfoProto], kind: str, path: Path) -> ValueInfoProto:
    if len(values) == 1:
        return values[0]
    names = ", ".join(value.name for value in values) or "none"
    raise _unusable(
        path,
        f"the model has {len(values)} {kind}s ({names}), not one",
        f"export the part of the model with one {kind}",
    )


def _text(shape: tuple[int | str, ...] | None) -> str:
    return "of unknown rank" if shape is None else f"({', '.join(str(axis or '?') for axis in shape)})"
