"""The `[gate]` table of `edgekit.toml`: limits that a project agrees on."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.errors import ComparisonError
from edgekit.files import first_fault, read_toml
from edgekit.validate.gate import DEFAULT_LIMITS, Limits, SizeLimit

CONFIG_FILE: Final = "edgekit.toml"
_TABLE: Final = "gate"
# Keys that the table has for `edgekit run` alone.
_OF_PIPELINES: Final = frozenset({"enabled", "baseline"})
_HEADER: Final = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]+")

Percent = Annotated[float, Field(ge=0, le=100)]
Ratio = Annotated[float, Field(gt=0)]


class GateTable(BaseModel):
    """Keys of `[gate]`; each is a flag of `edgekit gate` too, which overrides it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    max_drop: Annotated[float, Field(ge=-100, le=100)] | None = None
    min_agreement: Percent | None = None
    max_size: Annotated[int, Field(gt=0)] | Annotated[str, Field(pattern=r"^\d+(\.\d+)?x$")] | None = None
    min_speedup: Ratio | None = None
    max_p99_ratio: Ratio | None = None
    these_images: bool = False
    allow_inconclusive: bool = False

    def limits(self) -> Limits:
        """Return the limits of the table."""
        size = None if self.max_size is None else SizeLimit.of(str(self.max_size), where="max_size")
        return Limits(self.max_drop, self.min_agreement, size, self.min_speedup, self.max_p99_ratio, self.these_images)


def read_gate_table(path: Path) -> GateTable:
    """Read the table; a file without one sets no limit.

    Raises:
        ComparisonError: EK636 with line and key when it is wrong, or the file cannot be read.
    """
    try:
        content = read_toml(path)
    except OSError as error:
        raise _wrong(error.strerror or str(error), str(path)) from error
    except ValueError as error:
        raise _wrong(f"not a TOML file: {error}", str(path)) from error
    table = content.get(_TABLE, {})
    if isinstance(table, dict):
        table = {key: value for key, value in table.items() if key not in _OF_PIPELINES}
    try:
        return GateTable.model_validate(table)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        key = str(fault["loc"][0]) if fault["loc"] else ""
        if fault["type"] == "extra_forbidden":
            what = f"{key}: there is no such key in [{_TABLE}]; it has {', '.join(GateTable.model_fields)}"
        else:
            what = first_fault(error)
        line = _line_of(path.read_text(encoding="utf-8"), key)
        raise _wrong(what, f"{path}:{line}" if line else str(path)) from error


def merged(table: GateTable, flags: dict[str, Any]) -> Limits:
    """Return the limits of a table with those that flags set instead; the default where neither sets any.

    Args:
        table: Of `edgekit.toml`.
        flags: Fields of `Limits` by name, None where a flag was not given.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    limits = dataclasses.replace(table.limits(), **given)
    return limits if limits.names else dataclasses.replace(DEFAULT_LIMITS, these_images=limits.these_images)


def _line_of(text: str, key: str) -> int | None:
    """Return the line on which the table sets a key; None where it is not found."""
    assignment = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]")
    dotted = re.compile(rf"\s*{_TABLE}\s*\.\s*[\"']?{re.escape(key)}\b")
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = header[1]
            if table == f"{_TABLE}.{key}" or (table == _TABLE and not key):
                return number
        elif (table == _TABLE and assignment.match(line)) or (not table and dotted.match(line)):
            return number
    return None


def _wrong(what: str, where: str) -> ComparisonError:
    return ComparisonError("EK636", what, where=where, hint="docs/gate.md lists the keys of [gate]")
