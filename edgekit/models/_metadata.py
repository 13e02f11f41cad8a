"""The metadata of a model file: how a checkpoint carries its own description, as strings by key."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from edgekit.errors import ModelError
from edgekit.models import registry
from edgekit.spec import ModelSpec, Preprocessing


def _architecture(text: str) -> str:
    return _one_of(*registry.names())(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError("a number above 0")
    return value


def _integer(minimum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= minimum):
            raise ValueError(f"an integer of at least {minimum}")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


def _triple(text: str) -> tuple[float, float, float]:
    try:
        first, second, third = (float(value) for value in text.split(","))
    except ValueError:
        first = second = third = math.nan
    if not all(math.isfinite(value) for value in (first, second, third)):
        raise ValueError("three numbers, e.g. 0.485,0.456,0.406")
    return first, second, third


def _positive_triple(text: str) -> tuple[float, float, float]:
    values = _triple(text)
    if min(values) <= 0:
        raise ValueError("three numbers above 0, e.g. 0.229,0.224,0.225")
    return values


def _channels(text: str) -> tuple[int, ...]:
    try:
        return tuple(map(_integer(1), text.split(",")))
    except ValueError:
        raise ValueError("integers above 0, e.g. 24,56,112") from None


_SPEC: Mapping[str, Callable[[str], Any]] = MappingProxyType({
    "architecture": _architecture,
    "width": _positive,
    "num_classes": _integer(1),
    "input_size": _integer(registry.MINIMUM_INPUT_SIZE),
    "padding": _one_of("torch", "tf_same"),
    "bn_eps": _positive,
    "stem_stride": _integer(1),
    "output_stride": _integer(1),
    "activation": _one_of("relu6", "relu"),
    "conv_bias": _boolean,
    "channels": _channels,
})  # fmt: skip
_PREPROCESSING: Mapping[str, Callable[[str], Any]] = MappingProxyType({
    "input_size": _SPEC["input_size"],
    "resize": _integer(1),
    "mean": _triple,
    "std": _positive_triple,
    "interpolation": _one_of("bilinear", "bicubic"),
})  # fmt: skip
_CLASSES = "classes"
_RESERVED = frozenset({*_SPEC, *_PREPROCESSING, _CLASSES})


def spec_from_metadata(metadata: Mapping[str, str], *, where: str = "") -> dict[str, Any]:
    """Return those fields of `ModelSpec` that the metadata gives; unknown keys are ignored.

    Raises:
        ModelError: EK107 naming the key and its value.
    """
    return _parse(metadata, _SPEC, where)


def preprocessing_from_metadata(metadata: Mapping[str, str], *, where: str = "") -> dict[str, Any]:
    """Return those fields of `Preprocessing` that the metadata gives.

    Raises:
        ModelError: EK107 naming the key and its value.
    """
    return _parse(metadata, _PREPROCESSING, where)


def class_names_from_metadata(metadata: Mapping[str, str], *, where: str = "") -> tuple[str, ...] | None:
    """Return the class names in the order of the logits, or None when the metadata has none.

    Raises:
        ModelError: EK107 when they are no JSON list of strings, or not as many as `num_classes`.
    """
    if _CLASSES not in metadata:
        return None
    try:
        names = json.loads(metadata[_CLASSES])
    except ValueError:
        names = None
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        _refuse(_CLASSES, metadata[_CLASSES], "a JSON list of strings", where)
    num_classes = spec_from_metadata(metadata, where=where).get("num_classes", len(names))
    if len(names) != num_classes:
        _refuse(_CLASSES, metadata[_CLASSES], f"a list of num_classes = {num_classes} names", where)
    return tuple(names)


def to_metadata(
    spec: ModelSpec,
    preprocessing: Preprocessing,
    class_names: tuple[str, ...] | None = None,
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the metadata from which the three functions above read the same values again.

    Args:
        spec: Description of the model.
        preprocessing: Its preprocessing, of the same input size.
        class_names: Names in the order of the logits.
        extra: Further keys, e.g. where the weights come from.

    Raises:
        ValueError: The input sizes differ, or `extra` holds a key that has a meaning of its own.
    """
    if spec.input_size != preprocessing.input_size:
        raise ValueError(f"input size {spec.input_size} of the model, {preprocessing.input_size} of the preprocessing")
    extra = extra or {}
    if clash := _RESERVED & extra.keys():
        raise ValueError(f"reserved metadata keys: {', '.join(sorted(clash))}")
    metadata = {key: _format(getattr(spec, key)) for key in _SPEC if getattr(spec, key) is not None}
    metadata |= {key: _format(getattr(preprocessing, key)) for key in _PREPROCESSING}
    if class_names is not None:
        metadata[_CLASSES] = json.dumps(class_names)
    return metadata | dict(extra)


def _format(value: str | float | bool | tuple[float, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(repr(part) for part in value)
    return str(value)


def _parse(metadata: Mapping[str, str], parsers: Mapping[str, Callable[[str], Any]], where: str) -> dict[str, Any]:
    fields = {}
    for key, parse in parsers.items():
        if key in metadata:
            try:
                fields[key] = parse(metadata[key].strip())
            except ValueError as error:
                _refuse(key, metadata[key], str(error), where)
    return fields


def _refuse(key: str, value: str, expected: str, where: str) -> NoReturn:
    raise ModelError(
        "EK107",
        f"the metadata says {key} = {value!r:.60}, which is not {expected}",
        where=where,
        hint=f"correct the metadata key {key!r} of the file, or remove it and give the option",
    )
