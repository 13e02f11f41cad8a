"""The stage [gate]: the one place where a pipeline calls the regression gate."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from edgekit.pipeline import gate_limits
from edgekit.pipeline.gate import GateRequest, gate_models
from edgekit.pipeline.measuring import StartProgress
from edgekit.pipeline.run._settings import DataTable, GateTable


def gate(
    baseline: Path,
    candidate: str,
    table: GateTable,
    data: DataTable,
    folder: Path,
    threads: int,
    progress: StartProgress,
) -> dict[str, Any]:
    """Judge a candidate beside a baseline model, or beside committed answers of one (a `.json` file).

    Returns:
        The fields of a `GateResult` as plain JSON.

    Raises:
        EdgekitError: As `gate_models`.
    """
    wanted = gate_limits.GateTable(**table.model_dump(exclude={"enabled", "baseline"}))
    committed = baseline.suffix == ".json"
    request = GateRequest(
        candidate,
        None if committed else str(baseline),
        limits=gate_limits.merged(wanted, {}),
        evaluation=None if data.eval is None else folder / data.eval,
        evaluation_samples=data.eval_samples,
        threads=threads,
        command="edgekit run",
    )
    if committed:
        request = dataclasses.replace(request, committed=baseline)
    result = gate_models(request, progress=progress).result
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(result)))
    return plain
