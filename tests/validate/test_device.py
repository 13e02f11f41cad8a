"""Joining a device's numbers: times over runs, ratios, conditions, power."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ComparisonError
from edgekit.validate import (
    Conditions,
    device_power,
    device_speedup,
    device_times,
    differing_conditions,
    output_drift,
)

# The first example imports scipy, and a busy machine is slow at any.
UNHURRIED = settings(deadline=None)
MILLISECONDS = st.floats(1e-3, 1e4)
RUNS = st.lists(st.lists(MILLISECONDS, min_size=1, max_size=30), min_size=1, max_size=5)
LOGITS = st.lists(st.lists(st.floats(-50, 50), min_size=4, max_size=4), min_size=1, max_size=6)
NANO = Conditions("Jetson Nano", "5.3", "MAXN", {"gpu_hz": 921_600_000}, "trtexec", {"CUDA graph": False})


def arrays(runs: list[list[float]]) -> list[np.ndarray]:
    return [np.array(run) for run in runs]


@UNHURRIED
@given(RUNS)
def test_percentiles_are_those_of_all_frames_together(runs: list[list[float]]) -> None:
    times = device_times(arrays(runs), arrays(runs))
    frames = sorted(value for run in runs for value in run)
    frame = times.compute.frame_ms
    assert times.frames == len(frames)
    assert times.compute == times.end_to_end
    assert frames[0] <= frame.p50 <= frame.p90 <= frame.p99 <= frames[-1]
    assert sum(value <= frame.p90 for value in frames) >= 0.9 * (len(frames) - 1)
    assert frame.p50 == pytest.approx(float(np.median(frames)))


@UNHURRIED
@given(RUNS, st.floats(0.01, 100))
def test_times_scale_with_the_clock_and_the_spread_does_not(runs: list[list[float]], factor: float) -> None:
    one, other = (device_times(arrays(given), arrays(given)).compute for given in (runs, scaled(runs, factor)))
    assert other.frame_ms.p99 == pytest.approx(factor * one.frame_ms.p99)
    assert other.run_medians_ms == pytest.approx([factor * median for median in one.run_medians_ms])
    assert (one.spread_percent is None) == (other.spread_percent is None) == (len(runs) == 1)
    if one.spread_percent is not None and other.spread_percent is not None:
        assert other.spread_percent == pytest.approx(one.spread_percent, rel=1e-6, abs=1e-9)


def scaled(runs: list[list[float]], factor: float) -> list[list[float]]:
    return [[factor * value for value in run] for run in runs]


@UNHURRIED
@given(RUNS)
def test_the_order_of_runs_and_of_frames_decides_nothing(runs: list[list[float]]) -> None:
    turned = [run[::-1] for run in runs[::-1]]
    one, other = (device_times(arrays(given), arrays(given)).compute for given in (runs, turned))
    assert one.frame_ms == other.frame_ms
    assert one.spread_percent == other.spread_percent


def test_the_spread_is_that_of_the_medians() -> None:
    compute = arrays([[1.0, 1.0, 9.0], [1.1, 1.1, 1.1], [1.2, 1.2, 0.1]])
    times = device_times(compute, compute).compute
    assert times.run_medians_ms == (1.0, 1.1, 1.2)
    assert times.spread_percent == pytest.approx(100 * 0.2 / 1.1)


@UNHURRIED
@given(RUNS, RUNS)
def test_a_ratio_lies_in_its_range_and_turns_round(first: list[list[float]], second: list[list[float]]) -> None:
    one, other = device_times(arrays(first), arrays(first)), device_times(arrays(second), arrays(second))
    there, back = device_speedup(one, other).compute, device_speedup(other, one).compute
    assert 0 < there.low <= there.value <= there.high
    assert there.value * back.value == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)


def test_compute_and_end_to_end_have_ratios_of_their_own() -> None:
    slow = device_times(arrays([[4.0], [4.4]]), arrays([[6.0], [6.0]]))
    fast = device_times(arrays([[2.0], [2.2]]), arrays([[5.0], [5.0]]))
    speedup = device_speedup(slow, fast)
    assert speedup.compute.value == pytest.approx(2)
    assert (speedup.compute.low, speedup.compute.high) == pytest.approx((4.0 / 2.2, 4.4 / 2.0))
    assert speedup.end_to_end.value == pytest.approx(1.2)


@UNHURRIED
@given(LOGITS)
def test_a_device_that_computes_the_same_has_not_drifted(logits: list[list[float]]) -> None:
    values = np.array(logits, np.float32)
    found = output_drift(values, values)
    assert found.max_abs_difference == 0
    assert (found.drift.agreement.value, found.drift.kl.value, found.drift.n) == (100, 0, len(logits))
    assert found.drift.top1_delta_pp is None


@UNHURRIED
@given(LOGITS, st.floats(-5, 5))
def test_the_largest_difference_is_found_wherever_it_is(logits: list[list[float]], change: float) -> None:
    values = np.array(logits, np.float64)
    moved = values.copy()
    moved[-1, 2] += change
    assert output_drift(values, moved).max_abs_difference == pytest.approx(abs(change), abs=1e-12)


def test_outputs_of_another_number_of_classes_are_ek601() -> None:
    with pytest.raises(ComparisonError, match="EK601"):
        output_drift(np.zeros((2, 10)), np.zeros((2, 9)))


def test_nothing_keeps_a_device_from_being_compared_with_itself() -> None:
    assert differing_conditions(NANO, NANO) == ()
    # A clock that is read twice is never the same to the last digit.
    assert differing_conditions(NANO, dataclasses.replace(NANO, clocks={"gpu_hz": 921_600_001})) == ()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (dataclasses.replace(NANO, device="Jetson TX2"), "device: Jetson Nano and Jetson TX2"),
        (dataclasses.replace(NANO, device=None), "device: Jetson Nano and unknown"),
        (dataclasses.replace(NANO, compute_capability="6.2"), "compute capability: 5.3 and 6.2"),
        (dataclasses.replace(NANO, power_mode="5W"), "power mode: MAXN and 5W"),
        (dataclasses.replace(NANO, clocks={"gpu_hz": 640_000_000}), "clock gpu_hz: 921600000 and 640000000"),
        (dataclasses.replace(NANO, tool="runner.py"), "program: trtexec and runner.py"),
        (dataclasses.replace(NANO, settings={"CUDA graph": True}), "CUDA graph: False and True"),
    ],
)
def test_each_condition_that_differs_is_told(other: Conditions, told: str) -> None:
    assert differing_conditions(NANO, other) == (told,)


def test_a_clock_that_one_side_alone_could_read_is_told_both_ways() -> None:
    silent = dataclasses.replace(NANO, clocks={})
    assert differing_conditions(silent, NANO) == ("clock gpu_hz: unknown and 921600000",)
    assert differing_conditions(NANO, silent) == ("clock gpu_hz: 921600000 and unknown",)


def test_two_devices_without_a_name_and_a_gpu_are_not_known_to_be_one() -> None:
    nameless = dataclasses.replace(NANO, device=None)
    assert differing_conditions(nameless, nameless) == ()
    unknown = dataclasses.replace(nameless, compute_capability=None)
    assert differing_conditions(unknown, unknown) == ("neither answer says what device it comes from",)


@UNHURRIED
@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=50), RUNS)
def test_energy_is_mean_power_times_the_median_frame(milliwatts: list[float], runs: list[list[float]]) -> None:
    times = device_times(arrays(runs), arrays(scaled(runs, 2)))
    power = device_power("sensor (VDD_IN)", milliwatts, times)
    assert power.mean_w == pytest.approx(sum(milliwatts) / len(milliwatts) / 1000)
    assert power.low_w <= power.mean_w * (1 + 1e-9)
    assert power.mean_w <= power.high_w * (1 + 1e-9)
    assert power.energy_mj == pytest.approx(power.mean_w * times.end_to_end.frame_ms.p50)


@pytest.mark.parametrize(
    ("source", "rail", "whole"),
    [
        ("/sys/in_power0_input (POM_5V_IN)", "POM_5V_IN", True),
        ("/sys/in1_input (VDD_IN)", "VDD_IN", True),
        ("/sys/in3_input (VIN_SYS_5V0)", "VIN_SYS_5V0", False),
        ("/sys/in1_input (VDD_GPU_SOC)", "VDD_GPU_SOC", False),
        ("/sys/in1_input", "", False),
    ],
)
def test_the_label_of_a_rail_tells_whether_it_feeds_everything(source: str, rail: str, whole: bool) -> None:
    times = device_times(arrays([[1.0]]), arrays([[1.0]]))
    power = device_power(source, [1000], times)
    assert (power.rail, power.whole_module) == (rail, whole)
