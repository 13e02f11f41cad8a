"""Many candidates, one Pareto front: which of them to try next, what each comes to, and which are worth having."""

from __future__ import annotations

from edgekit.pipeline.sweep._candidate import Candidate, Measurement
from edgekit.pipeline.sweep._front import Standing, area_under, dominates, front
from edgekit.pipeline.sweep._halving import goes_on, shares
from edgekit.pipeline.sweep._search import SweepOutcome, SweepRequest, require_feasible, sweep
from edgekit.pipeline.sweep._settings import SweepSettings, json_schema, read_settings
from edgekit.pipeline.sweep._study import Trial
from edgekit.pipeline.sweep._write import facts, folder_of, write_sweep

__all__ = [
    "Candidate",
    "Measurement",
    "Standing",
    "SweepOutcome",
    "SweepRequest",
    "SweepSettings",
    "Trial",
    "area_under",
    "dominates",
    "facts",
    "folder_of",
    "front",
    "goes_on",
    "json_schema",
    "read_settings",
    "require_feasible",
    "shares",
    "sweep",
    "write_sweep",
]
