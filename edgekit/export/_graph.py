"""Small questions about an ONNX model that several modules ask."""

from __future__ import annotations

from onnx import GraphProto, ModelProto, TypeProto, ValueInfoProto

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def opset_of(model: ModelProto) -> int:
    """Return the version of the standard operator set that the model imports, 0 when it imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=0)


def data_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Return the inputs that have no initializer; before IR version 4 every weight was an input as well."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def dimensions(value: ValueInfoProto) -> tuple[int | str, ...] | None:
    """Return the shape with symbols as text, unnamed unknown axes as ""; None when the rank is not known."""
    tensor: TypeProto.Tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in tensor.shape.dim)
