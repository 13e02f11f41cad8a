"""The stage [gate]: the one place where a pipeline calls the regression gate."""

from __future__ import annotations

import dataclasses
import importlib
import json
from typing import Any

from edgekit.errors import UsageError
from edgekit.pipeline.measuring import StartProgress
from edgekit.pipeline.run._settings import GateTable
from edgekit.pipeline.validate import ValidateRequest, validate_models


def gate(request: ValidateRequest, table: GateTable, progress: StartProgress) -> dict[str, Any]:
    """Compare two models and judge the comparison; returns the fields of a `GateResult` as plain JSON.

    Raises:
        UsageError: EK004 when this installation has no gate.
        EdgekitError: As `validate_models` and `judge`.
    """
    try:
        room = importlib.import_module("edgekit.validate.gate")
    except ModuleNotFoundError as error:
        raise UsageError(
            "EK004", "this edgekit has no regression gate", where="[gate]", hint="upgrade edgekit, or leave [gate] out"
        ) from error
    wanted = table.model_dump(exclude={"enabled", "baseline"}, exclude_none=True)
    if table.max_size is not None:
        wanted["max_size"] = room.SizeLimit.of(table.max_size, where="gate.max_size")
    limited = any(value is not None for name, value in wanted.items() if name != "these_images")
    limits = room.Limits(**wanted) if limited else room.DEFAULT_LIMITS
    result = room.judge(validate_models(request, progress=progress), limits)
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(result)))
    return plain
