"""Reading and writing `report.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from edgekit.errors import ModelError
from edgekit.files import first_fault, read_at_most, write_json
from edgekit.report._device_schema import DeviceReport
from edgekit.report._schema import Report

_LARGEST_BYTES: Final = 64 << 20  # ten thousand layers take about 2 MB


def write(report: Report | DeviceReport, path: Path) -> None:
    """Write a report as indented JSON, whole or not at all; raises UsageError EK003 when it cannot."""
    write_json(path, report.model_dump(mode="json", by_alias=True))


def read(path: Path) -> Report:
    """Read a report that anybody may have written.

    Raises:
        ModelError: EK107 when the file is missing, is not a report, or is one of another version.
    """
    try:
        content = read_at_most(path, _LARGEST_BYTES)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if content is None:
        raise _unreadable(path, f"it is larger than {_LARGEST_BYTES >> 20} MiB")
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        raise _unreadable(path, first_fault(error)) from error


def _unreadable(path: Path, what: str) -> ModelError:
    return ModelError(
        "EK107",
        f"not a report that this edgekit reads ({what})",
        where=str(path),
        hint="give the report.json that edgekit export of the same version wrote",
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `report.json`, as in `docs/report.schema.json`."""
    schema = Report.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
