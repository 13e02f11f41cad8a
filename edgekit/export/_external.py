"""Weights that an ONNX file keeps in other files: read only from the model's own folder.

The names come from the file, so they are not to be trusted (CVE-2022-25882, CVE-2024-27318: a model that
reads any file of its reader).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from edgekit.errors import ModelError


def load(model: ModelProto, path: Path) -> None:
    """Read external weights into the model, in place.

    Args:
        model: What was parsed from `path`.
        path: The model file, whose folder is the only one to read from.

    Raises:
        ModelError: EK109 when a name points out of the folder, EK104 when the data is not there or too short.
    """
    # All names are judged before the first file is opened.
    external = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    for tensor in external:
        _require_inside(tensor, path)
    for tensor in external:
        _read(tensor, path)


def _require_inside(tensor: TensorProto, path: Path) -> None:
    location = _entry(tensor, "location")
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    folder = path.parent.resolve()
    outside = (
        "\0" in location
        or posix.is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in posix.parts
        or ".." in windows.parts
    )
    # `resolve` follows links, also those of parent folders.
    if outside or not (folder / location).resolve().is_relative_to(folder):
        raise ModelError(
            "EK109",
            f"weight {tensor.name!r} refers to {location!r}, outside the folder of the model",
            where=str(path),
            hint="do not use this file unless you know where it comes from; save it with its weights inside",
        )


def _read(tensor: TensorProto, path: Path) -> None:
    try:
        tensor.raw_data = _bytes(tensor, path.parent.resolve())
    except (OSError, ValueError) as error:
        raise ModelError(
            "EK104",
            f"the data of weight {tensor.name!r} cannot be read: {error}",
            where=str(path),
            hint="put the data file that was saved with the model beside it, or save the model as one file",
        ) from error
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _bytes(tensor: TensorProto, folder: Path) -> bytes:
    location = _entry(tensor, "location")
    source = folder / location
    if not location or not source.is_file():
        raise FileNotFoundError(f"{location or 'a file without a name'} is not a file beside the model")
    size = source.stat().st_size
    offset = int(_entry(tensor, "offset") or 0)
    length = int(_entry(tensor, "length") or size - offset)
    if offset < 0 or length < 0 or offset + length > size:
        raise ValueError(f"{location} has {size} bytes, {length} are wanted from byte {offset} on")
    with source.open("rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def _entry(tensor: TensorProto, key: str) -> str:
    # The last entry of a key counts, as in onnx; judging and reading use this one function.
    return next((str(entry.value) for entry in reversed(tensor.external_data) if entry.key == key), "")


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor: of all graphs, attributes, functions and training graphs, dense or sparse."""
    yield from _graph_tensors(model.graph)
    for training in model.training_info:
        yield from _graph_tensors(training.initialization)
        yield from _graph_tensors(training.algorithm)
    for function in model.functions:
        yield from _node_tensors(function.node)
        yield from _attribute_tensors(function.attribute_proto)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterator[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        yield from _attribute_tensors(node.attribute)


def _attribute_tensors(attributes: Iterator[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)
