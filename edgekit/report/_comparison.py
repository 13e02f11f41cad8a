"""The whole of a comparison as JSON, and the JSON Schema of that."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from edgekit import results, spec
from edgekit.files import write_json
from edgekit.results import Comparison

_ADAPTER: Final = TypeAdapter(Comparison)
_ATTRIBUTES: Final = "\n\nAttributes:\n"


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as what JSON knows: every field is there, null where it does not apply."""
    content: dict[str, Any] = _ADAPTER.dump_python(comparison, mode="json")
    return content


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write a comparison as indented JSON, whole or not at all; raises UsageError EK003 when it cannot."""
    write_json(path, comparison_json(comparison))


def comparison_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a comparison, as in `docs/comparison.schema.json`."""
    schema = _ADAPTER.json_schema(mode="serialization")
    for name, definition in [(Comparison.__name__, schema), *schema["$defs"].items()]:
        _complete(definition, _described(name))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _described(name: str) -> type:
    kind: type = getattr(results, name, None) or getattr(spec, name)
    return kind


def _complete(definition: dict[str, Any], kind: type) -> None:
    """Say what the dataclass says: every field with its description, none left out and none beyond them."""
    summary, _, attributes = inspect.cleandoc(kind.__doc__ or "").partition(_ATTRIBUTES)
    described = {
        name: " ".join(text.split())
        for name, text in re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", attributes, re.MULTILINE)
    }
    definition["description"] = " ".join(summary.split())
    definition["required"] = [field.name for field in dataclasses.fields(kind)]
    definition["additionalProperties"] = False
    for name, field in definition["properties"].items():
        field.pop("default", None)
        if name in described:
            field["description"] = described[name]
