"""Write a result down: `report.json` with its schema, and the same numbers as a table on the terminal."""

from __future__ import annotations

from edgekit.report._environment import environment
from edgekit.report._files import json_schema, read, write
from edgekit.report._plan_section import PlannedChange, PlannedRewrite, PlanSection
from edgekit.report._render import Side, render, render_comparison
from edgekit.report._schema import (
    SCHEMA,
    DataSection,
    DataSource,
    DriftSection,
    Environment,
    Estimate,
    LatencySection,
    ModelFile,
    ModelSection,
    NoteLine,
    QuantizationSection,
    Report,
    Specification,
    Verification,
)

__all__ = [
    "SCHEMA",
    "DataSection",
    "DataSource",
    "DriftSection",
    "Environment",
    "Estimate",
    "LatencySection",
    "ModelFile",
    "ModelSection",
    "NoteLine",
    "PlanSection",
    "PlannedChange",
    "PlannedRewrite",
    "QuantizationSection",
    "Report",
    "Side",
    "Specification",
    "Verification",
    "environment",
    "json_schema",
    "read",
    "render",
    "render_comparison",
    "write",
]
