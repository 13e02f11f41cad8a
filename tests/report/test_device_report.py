"""The report on a device's answer: its schema, what it refuses, and what the terminal says of it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError
from report_examples import example
from rich.console import Console

from edgekit.report import (
    DEVICE_SCHEMA,
    BaselineSection,
    BoardSection,
    DeviceReport,
    EngineSection,
    NoteLine,
    OutputSection,
    PlanSection,
    PowerSection,
    SettingsSection,
    SpeedupSection,
    TimesSection,
    VerdictSection,
    device_json_schema,
    render_device,
    write,
)
from edgekit.results import (
    DevicePower,
    DeviceSpeedup,
    DeviceTimes,
    Drift,
    OutputDrift,
    Percentiles,
    RunRatio,
    RunTimes,
    Verdict,
)
from edgekit.spec import Interval

DRIFT = Drift(None, Interval(93.75, 71.67, 98.89), Interval(0.004, 0.002, 0.009), Interval(31.2, 28.0, 34.5), 16)
COMPUTE = RunTimes(Percentiles(2.5, 2.75, 3.5), (2.5, 2.45, 2.575), 5.0)
TIMES = DeviceTimes(COMPUTE, RunTimes(Percentiles(3.0, 3.25, 4.0), (3.0, 2.9, 3.05), 5.0), 4800)
POWER = DevicePower("VDD_IN", True, 6.25, 5.0, 7.5, 40, 18.75)
SPEEDUP = DeviceSpeedup(RunRatio(2.0, 1.75, 2.25), RunRatio(1.5, 1.25, 1.75))


def device_report(**changes: Any) -> DeviceReport:
    """Return a report with every part filled in, but for `changes`."""
    engine = EngineSection(sha256="b" * 64, size_bytes=2_500_000, build_seconds=90.5)
    parts: dict[str, Any] = {
        "schema": DEVICE_SCHEMA,
        "edgekit": "0.1.0",
        "command": "edgekit validate fp32/result.json int8/result.json",
        "source": "int8/result.json",
        "bundle": "a" * 64,
        "target": "jetson-orin-nano",
        "plan": PlanSection(
            jetpack="6.2", tensorrt="10.3", precision="int8", typing="weak", workspace_mib=2048, rewrites=(),
            changes=(), cautions=(),
        ),
        "tool": "trtexec",
        "device": BoardSection(
            model="Orin Nano", compute_capability="8.7", l4t="36.4", tensorrt="10.3.0", cuda="12.6", nvpmodel="25W",
            clocks={"gpu_hz": 9180},
        ),
        "engine": engine,
        "settings": SettingsSection(
            warmup_ms=500, duration_s=5, runs=3, cuda_graph=False, spin_wait=False, data_transfers=True
        ),
        "samples": 16,
        "against_file": OutputSection.of(OutputDrift(DRIFT, 0.25)),
        "against_baseline": OutputSection.of(OutputDrift(DRIFT, 0.5)),
        "times": TimesSection.of(TIMES),
        "power": PowerSection.of(POWER, "idle is in it"),
        "baseline": BaselineSection(
            source="fp32/result.json", is_result=True, precision="fp16", times=TimesSection.of(TIMES), power=None,
            engine=engine, speedup=SpeedupSection.of(SPEEDUP), differences=(),
        ),
        "verdict": VerdictSection.of(Verdict(True, "no limit was given")),
        "notes": (NoteLine(source="drift", text="of rounding"),),
        "environment": example().environment,
    }  # fmt: skip
    return DeviceReport(**{**parts, **changes})


def shown(report: DeviceReport) -> str:
    """Return what the terminal shows, each run of blanks as one."""
    console = Console(file=io.StringIO(), width=200)
    render_device(report, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_it_follows_its_json_schema_and_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write(device_report(), tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    jsonschema.Draft202012Validator.check_schema(device_json_schema())
    jsonschema.Draft202012Validator(device_json_schema()).validate(content)
    assert content["schema"] == "edgekit.device-report/1"
    assert DeviceReport.model_validate_json((tmp_path / "report.json").read_text()) == device_report()


def test_the_committed_json_schema_is_current_and_describes_every_field(repository: Path) -> None:
    schema = device_json_schema()
    committed = json.loads((repository / "docs" / "device-report.schema.json").read_text())
    assert committed == schema, "docs/targets.md says how to write docs/device-report.schema.json again"
    for definition in [schema, *schema["$defs"].values()]:
        assert set(definition.get("properties", {})) == set(definition.get("required", []))
        assert all(field["description"] for field in definition.get("properties", {}).values())


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="power without times"):
        device_report(times=None)
    with pytest.raises(ValidationError):
        device_report(samples=0)
    with pytest.raises(ValidationError):
        SpeedupSection.of(DeviceSpeedup(RunRatio(float("inf"), 1, 2), RunRatio(1, 1, 1)))


def test_the_terminal_shows_every_number() -> None:
    text = shown(device_report())
    for part in (
        "agreement 93.75 % [71.67, 98.89] 93.75 % [71.67, 98.89]",
        "SQNR 31.2 dB [28.0, 34.5]",
        "largest difference 0.25 0.5",
        "compute 2.50 ms 2.75 ms 3.50 ms 5.0 %",
        "end to end 3.00 ms 3.25 ms 4.00 ms 5.0 %",
        "baseline: compute 2.50 ms",
        "Baseline: fp32/result.json, fp16, 2.50 MB, built in 90.5 s",
        "Device: Orin Nano, compute capability 8.7, L4T 36.4, CUDA 12.6, power mode 25W, TensorRT 10.3.0, gpu_hz 9180",
        "Engine: int8, 2.50 MB, built in 90.5 s",
        "Time: 4,800 frames in 3 runs of 5 s after 500 ms of warm-up, batch 1, trtexec, CUDA graph off, spin wait off",
        "Power: 6.25 W at VDD_IN (40 readings, 5.00 to 7.50 W), 18.8 mJ a frame; idle is in it",
        "Drift: on 16 samples",
        "Speed-up over the baseline: compute 2.00x [1.75, 2.25], end to end 1.50x [1.25, 1.75]",
        "drift: of rounding",
        "pass: no limit was given",
    ):
        assert part in text


def test_the_terminal_says_what_was_not_measured() -> None:
    model = BaselineSection(
        source="model.onnx", is_result=False, precision=None, times=None, power=None, engine=None, speedup=None,
        differences=(),
    )  # fmt: skip
    text = shown(device_report(times=None, power=None, baseline=model))
    assert "Time: not measured, only the samples were run" in text
    assert "Baseline: model.onnx, run on this CPU" in text
    assert "p50" not in text
    assert "Speed-up" not in text
    assert "Power: not measured, the board has no sensor that could be read" in shown(device_report(power=None))


def test_a_failed_check_and_what_cannot_be_compared_are_told() -> None:
    baseline = device_report().baseline.model_copy(
        update={"speedup": None, "differences": ("power mode: MAXN and 25W",), "power": device_report().power}
    )
    failed = VerdictSection.of(Verdict(False, "agreement fell"))
    text = shown(device_report(baseline=baseline, verdict=failed))
    assert "Speed-up: none is stated, the times cannot be compared (power mode: MAXN and 25W)" in text
    assert "built in 90.5 s, 6.25 W at VDD_IN (40 readings, 5.00 to 7.50 W), 18.8 mJ a frame" in text
    assert "FAIL: agreement fell" in text


def test_an_engine_that_was_there_and_a_single_run_are_told() -> None:
    engine = EngineSection(sha256="b" * 64, size_bytes=2_500_000, build_seconds=None)
    once = RunTimes(COMPUTE.frame_ms, (2.5,), None)
    text = shown(device_report(engine=engine, times=TimesSection.of(DeviceTimes(once, once, 9))))
    assert "Engine: int8, 2.50 MB, was there already" in text
    assert "compute 2.50 ms 2.75 ms 3.50 ms one run" in text


def test_names_of_strangers_cannot_command_the_terminal() -> None:
    board = device_report().device.model_copy(update={"model": "[red]\x1b[2Jboard"})
    text = shown(device_report(device=board))
    assert "[red]?[2Jboard" in text
    assert "\x1b" not in text
