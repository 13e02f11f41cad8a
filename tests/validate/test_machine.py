"""What the machine was doing: parsing what real systems say, and a system that says nothing."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import pytest

from edgekit.validate import MachineWatch, watching_machine
from edgekit.validate._machine import cpuinfo_megahertz, parse_cpu_times, parse_load_average, steal_percent

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
stepping\t: 1
cpu MHz\t\t: 2445.402
cache size\t: 512 KB
flags\t\t: fpu avx2

processor\t: 1
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
cpu MHz\t\t: 3000.000
flags\t\t: fpu avx2
"""
CORTEX = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""
STAT = """cpu  2006719 159752 148087 235343 4141 0 802 5137 0 0
cpu0 975142 76846 70165 153906 898 0 294 2584 0 0
cpu1 1031577 82905 77921 81437 3243 0 507 2552 0 0
intr 7906848 0 0 0
ctxt 6956979
"""
LATER = STAT.replace("2006719", "2006819", 1).replace("235343", "235393", 1).replace("5137", "5187", 1)


def test_the_frequency_is_the_mean_of_the_cpus_that_the_process_may_use() -> None:
    assert cpuinfo_megahertz(EPYC, [0]) == 2445.402
    assert cpuinfo_megahertz(EPYC, [0, 1]) == pytest.approx(2722.701)
    assert cpuinfo_megahertz(EPYC, [7]) is None
    assert cpuinfo_megahertz(CORTEX, [0]) is None
    assert cpuinfo_megahertz("", [0]) is None


def test_the_load_average_is_that_of_the_last_minute() -> None:
    assert parse_load_average("3.11 2.26 2.00 7/102 26401\n") == 3.11
    assert parse_load_average("") is None


def test_cpu_times_are_those_of_all_cpus_up_to_steal() -> None:
    assert parse_cpu_times(STAT) == (2006719, 159752, 148087, 235343, 4141, 0, 802, 5137)
    assert parse_cpu_times("cpu  1 2 3 4\n") is None  # a kernel from before there was steal
    assert parse_cpu_times("") is None


def test_steal_is_its_share_of_the_time_that_passed() -> None:
    before, after = parse_cpu_times(STAT), parse_cpu_times(LATER)
    assert steal_percent(before, after) == 25.0
    assert steal_percent(before, before) is None
    assert steal_percent(after, before) is None
    assert steal_percent(None, after) is None


def write(root: Path, **files: object) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """An x86 with everything that is looked at, on every CPU that this process may use."""
    write(tmp_path, proc__cpuinfo=EPYC, proc__loadavg="0.50 0.40 0.30 1/100 4242", proc__stat=STAT)
    for cpu in os.sched_getaffinity(0):
        place = f"sys__devices__system__cpu__cpu{cpu}"
        counts = {"core_throttle_count": 3 + cpu, "package_throttle_count": 7}
        write(tmp_path, **{f"{place}__cpufreq__scaling_cur_freq": 1_800_000})
        write(tmp_path, **{f"{place}__cpufreq__scaling_governor": "powersave"})
        write(tmp_path, **{f"{place}__thermal_throttle__{name}": count for name, count in counts.items()})
    return tmp_path


def test_a_watch_tells_what_was_before_and_what_was_after(system: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    place = f"sys__devices__system__cpu__cpu{cpu}"
    with watching_machine(system) as watch:
        write(system, proc__loadavg="2.25 0.60 0.30 3/101 4243", proc__stat=LATER)
        write(system, **{f"{place}__thermal_throttle__package_throttle_count": 12})
        for every in os.sched_getaffinity(0):
            write(system, **{f"sys__devices__system__cpu__cpu{every}__cpufreq__scaling_cur_freq": 2_400_000})
    state = watch.state()
    assert (state.cpu, state.cores, state.governor) == ("AMD EPYC", len(os.sched_getaffinity(0)), "powersave")
    assert state.frequency_mhz == (1800.0, 2400.0)
    assert state.load_average == (0.5, 2.25)
    assert state.throttled == 5
    assert state.steal_percent == 25.0


def test_what_happens_after_the_work_is_not_told(system: Path) -> None:
    with watching_machine(system) as watch:
        pass
    write(system, proc__loadavg="9.00 9.00 9.00 9/101 4243")
    assert watch.state().load_average == (0.5, 0.5)
    assert MachineWatch(system).state().load_average == (9.0, 9.0)


def test_a_system_that_tells_nothing_gives_none(tmp_path: Path) -> None:
    with watching_machine(tmp_path) as watch:
        pass
    state = watch.state()
    assert (state.governor, state.frequency_mhz, state.load_average) == (None, None, None)
    assert (state.throttled, state.steal_percent) == (None, None)
    assert state.cpu == platform.machine()


def test_this_machine_can_be_watched_and_names_its_libraries() -> None:
    with watching_machine() as watch:
        pass
    state = watch.state()
    assert state.cpu
    assert state.cores == len(os.sched_getaffinity(0))
    assert state.versions["python"] == platform.python_version()
    assert state.versions["numpy"] == np.__version__
    assert {"edgekit", "onnxruntime", "torch"} <= state.versions.keys()
