"""What a device answered, beside what was expected: drift, time per frame, power. Pure functions of its numbers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.results import DevicePower, DeviceSpeedup, DeviceTimes, OutputDrift, RunRatio, RunTimes
from edgekit.validate._accumulate import DriftAccumulator, drift
from edgekit.validate._statistics import Floats, percentiles

_MOST_CLOCK_DIFFERENCE: Final = 0.01  # of the larger one: below it are readings, beyond it settings


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What decides how fast an engine runs, besides the engine.

    Attributes:
        device: Name of the board; None where it has none.
        compute_capability: Of the GPU; None where it is not known.
        power_mode: Of nvpmodel; None where there is none.
        clocks: Clocks by name.
        tool: Program that timed: trtexec keeps the next frame queued, runner.py does not.
        settings: How it was timed, by name.
    """

    device: str | None
    compute_capability: str | None
    power_mode: str | None
    clocks: Mapping[str, int]
    tool: str
    settings: Mapping[str, float | bool]


def output_drift(baseline: NDArray[Any], candidate: NDArray[Any]) -> OutputDrift:
    """Compare the logits of two sides for the same samples, (N, classes) each.

    Raises:
        ComparisonError: EK601 when the class counts differ, EK602 when logits hold NaN or infinity.
        DataError: EK208 when there is no sample.
    """
    accumulator = DriftAccumulator()
    accumulator.update(baseline, candidate, None)
    moved = drift(accumulator.result())
    return OutputDrift(moved, float(np.abs(baseline.astype(np.float64) - candidate.astype(np.float64)).max()))


def device_times(compute_ms: Sequence[Floats], end_to_end_ms: Sequence[Floats]) -> DeviceTimes:
    """Summarise timing runs, one array a run, warm-up left out; at least one run of one frame."""
    return DeviceTimes(_run_times(compute_ms), _run_times(end_to_end_ms), sum(map(len, compute_ms)))


def _run_times(runs: Sequence[Floats]) -> RunTimes:
    together = percentiles(np.concatenate(runs))
    medians = tuple(float(np.median(run)) for run in runs)
    spread = 100.0 * (max(medians) - min(medians)) / together.p50 if len(runs) > 1 else None
    return RunTimes(together, medians, spread)


def device_speedup(baseline: DeviceTimes, candidate: DeviceTimes) -> DeviceSpeedup:
    """Return how much faster the candidate is, with the range over pairs of runs.

    Three runs are too few for a confidence interval: the range is what was seen.
    """
    return DeviceSpeedup(_ratio(baseline.compute, candidate.compute), _ratio(baseline.end_to_end, candidate.end_to_end))


def _ratio(baseline: RunTimes, candidate: RunTimes) -> RunRatio:
    value = baseline.frame_ms.p50 / candidate.frame_ms.p50
    low = min(baseline.run_medians_ms) / max(candidate.run_medians_ms)
    high = max(baseline.run_medians_ms) / min(candidate.run_medians_ms)
    return RunRatio(value, min(low, value), max(high, value))


def differing_conditions(baseline: Conditions, candidate: Conditions) -> tuple[str, ...]:
    """Return what keeps two times from being compared, in words; nothing when they can be."""
    first, second = (_comparable(conditions) for conditions in (baseline, candidate))
    found = [
        f"{name}: {_told(first.get(name))} and {_told(second.get(name))}"
        for name in (*first, *(name for name in second if name not in first))
        if not _same(name, first.get(name), second.get(name))
    ]
    if baseline.device is None and baseline.compute_capability is None and not found:
        found.append("neither answer says what device it comes from")
    return tuple(found)


def _comparable(conditions: Conditions) -> dict[str, Any]:
    facts = {
        "device": conditions.device,
        "compute capability": conditions.compute_capability,
        "power mode": conditions.power_mode,
        "program": conditions.tool,
    }
    clocks = {f"clock {name}": value for name, value in conditions.clocks.items()}
    return {**facts, **clocks, **conditions.settings}


def _same(name: str, first: Any, second: Any) -> bool:
    if name.startswith("clock ") and first is not None and second is not None:
        return bool(abs(first - second) <= _MOST_CLOCK_DIFFERENCE * max(first, second))
    return bool(first == second)


def _told(value: Any) -> str:
    return "unknown" if value is None else str(value)


def device_power(source: str, milliwatts: Sequence[float], times: DeviceTimes) -> DevicePower:
    """Summarise power readings and give each frame its share.

    Args:
        source: File of the sensor, with the label of its rail in brackets where there is one.
        milliwatts: Readings, at least one.
        times: The runs beside which they were taken.
    """
    label = re.search(r"\(([^()]*)\)$", source)
    rail = label.group(1) if label else ""
    watts = np.asarray(milliwatts, np.float64) / 1000
    mean = float(watts.mean())
    # Boards call the rail that feeds everything VDD_IN or POM_5V_IN; VIN_SYS_5V0 and its like feed a part.
    whole = rail.endswith("_IN")
    energy = mean * times.end_to_end.frame_ms.p50
    return DevicePower(rail, whole, mean, float(watts.min()), float(watts.max()), len(watts), energy)
