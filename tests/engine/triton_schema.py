"""The part of Triton's model_config.proto that edgekit writes, so that protobuf itself parses and refuses.

Names, numbers and types are those of github.com/triton-inference-server/common, protobuf/model_config.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)

STRING, INT64, INT32, ENUM, MESSAGE = 9, 3, 5, 14, 11
OPTIONAL, REPEATED = 1, 3
ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_INT8": 6, "TYPE_FP16": 10, "TYPE_FP32": 11},
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
}
# message: {field: (number, repeated, type, name of the message or enum)}
MESSAGES: dict[str, dict[str, tuple[int, int, int, str]]] = {
    "ModelInput": {
        "name": (1, OPTIONAL, STRING, ""),
        "data_type": (2, OPTIONAL, ENUM, "DataType"),
        "dims": (4, REPEATED, INT64, ""),
    },
    "ModelOutput": {
        "name": (1, OPTIONAL, STRING, ""),
        "data_type": (2, OPTIONAL, ENUM, "DataType"),
        "dims": (3, REPEATED, INT64, ""),
        "label_filename": (4, OPTIONAL, STRING, ""),
    },
    "ModelInstanceGroup": {"count": (2, OPTIONAL, INT32, ""), "kind": (4, OPTIONAL, ENUM, "Kind")},
    "TextEntry": {"key": (1, OPTIONAL, STRING, ""), "value": (2, OPTIONAL, STRING, "")},
    "Accelerator": {"name": (1, OPTIONAL, STRING, ""), "parameters": (2, REPEATED, MESSAGE, "TextEntry")},
    "ExecutionAccelerators": {"gpu_execution_accelerator": (1, REPEATED, MESSAGE, "Accelerator")},
    "ModelOptimizationPolicy": {"execution_accelerators": (4, OPTIONAL, MESSAGE, "ExecutionAccelerators")},
    "ModelParameter": {"string_value": (1, OPTIONAL, STRING, "")},
    "ParameterEntry": {"key": (1, OPTIONAL, STRING, ""), "value": (2, OPTIONAL, MESSAGE, "ModelParameter")},
    "ModelConfig": {
        "name": (1, OPTIONAL, STRING, ""),
        "platform": (2, OPTIONAL, STRING, ""),
        "max_batch_size": (4, OPTIONAL, INT32, ""),
        "input": (5, REPEATED, MESSAGE, "ModelInput"),
        "output": (6, REPEATED, MESSAGE, "ModelOutput"),
        "instance_group": (7, REPEATED, MESSAGE, "ModelInstanceGroup"),
        "optimization": (12, OPTIONAL, MESSAGE, "ModelOptimizationPolicy"),
        "parameters": (14, REPEATED, MESSAGE, "ParameterEntry"),
    },
}
# A protobuf map is a repeated entry that belongs to the message around it.
MAPS = {"TextEntry": ("Accelerator", "ParametersEntry"), "ParameterEntry": ("ModelConfig", "ParametersEntry")}


def parse(text: str) -> Any:
    """Return the ModelConfig that a text says.

    Raises:
        ValueError: It has a field, a type or a value that the schema does not.
    """
    try:
        return text_format.Parse(text, _CONFIG())
    except text_format.ParseError as error:
        raise ValueError(str(error)) from error


def _schema() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="edgekit_test_model_config.proto", package="inference", syntax="proto3"
    )
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    messages = {name: file.message_type.add(name=name) for name in MESSAGES if name not in MAPS}
    for name, (owner, nested) in MAPS.items():
        messages[name] = messages[owner].nested_type.add(name=nested)
        messages[name].options.map_entry = True
    for name, fields in MESSAGES.items():
        for field, (number, label, kind, of) in fields.items():
            kind_name = f".inference.{'.'.join(MAPS.get(of, (of,)))}" if of else None
            messages[name].field.add(name=field, number=number, label=label, type=kind, type_name=kind_name)
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_schema())
_CONFIG = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("inference.ModelConfig"))
