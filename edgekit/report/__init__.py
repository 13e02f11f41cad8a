"""Write a result down: `report.json` with its schema, and the same numbers as a table on the terminal."""

from __future__ import annotations

from edgekit.report._bench_render import render_bench
from edgekit.report._comparison import comparison_json, comparison_json_schema, write_comparison
from edgekit.report._comparison_render import render_validation
from edgekit.report._device_render import render_device
from edgekit.report._device_schema import (
    DEVICE_SCHEMA,
    BaselineSection,
    BoardSection,
    DeviceReport,
    EngineSection,
    OutputSection,
    PowerSection,
    SettingsSection,
    SpeedupSection,
    TimesSection,
    VerdictSection,
    device_json_schema,
)
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
    "DEVICE_SCHEMA",
    "SCHEMA",
    "BaselineSection",
    "BoardSection",
    "DataSection",
    "DataSource",
    "DeviceReport",
    "DriftSection",
    "EngineSection",
    "Environment",
    "Estimate",
    "LatencySection",
    "ModelFile",
    "ModelSection",
    "NoteLine",
    "OutputSection",
    "PlanSection",
    "PlannedChange",
    "PlannedRewrite",
    "PowerSection",
    "QuantizationSection",
    "Report",
    "SettingsSection",
    "Side",
    "Specification",
    "SpeedupSection",
    "TimesSection",
    "VerdictSection",
    "Verification",
    "comparison_json",
    "comparison_json_schema",
    "device_json_schema",
    "environment",
    "json_schema",
    "read",
    "render",
    "render_bench",
    "render_comparison",
    "render_device",
    "render_validation",
    "write",
    "write_comparison",
]
