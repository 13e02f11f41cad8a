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
from edgekit.report._gate_text import check_text, gate_text, render_gate
from edgekit.report._junit import junit_xml
from edgekit.report._plan_section import PlannedChange, PlannedRewrite, PlanSection
from edgekit.report._render import Side, render, render_comparison
from edgekit.report._sarif import sarif
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
from edgekit.report._summary import summary_markdown

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
    "check_text",
    "comparison_json",
    "comparison_json_schema",
    "device_json_schema",
    "environment",
    "gate_text",
    "json_schema",
    "junit_xml",
    "read",
    "render",
    "render_bench",
    "render_comparison",
    "render_device",
    "render_gate",
    "render_validation",
    "sarif",
    "summary_markdown",
    "write",
    "write_comparison",
]
