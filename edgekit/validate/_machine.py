"""What the machine was doing while it timed. What files of the system say is parsed by pure functions of their text."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import edgekit
from edgekit.machine import package_version, parse_cpuinfo, system_text
from edgekit.results import MachineState

_PACKAGES: Final = ("numpy", "onnxruntime", "openvino", "torch")
_CPUS: Final = Path("sys/devices/system/cpu")
# The counters of x86; elsewhere the kernel counts nothing of the kind.
_THROTTLE_COUNTERS: Final = ("thermal_throttle/core_throttle_count", "thermal_throttle/package_throttle_count")
# user, nice, system, idle, iowait, irq, softirq, steal; what comes after is in the first two already.
_TIMES: Final = 8
_STEAL: Final = 7


@dataclasses.dataclass(frozen=True)
class _Reading:
    frequency_mhz: float | None
    load_average: float | None
    throttle_counts: Mapping[str, int]
    cpu_times: tuple[int, ...] | None


class MachineWatch:
    """Looks at the machine once when made and once when stopped.

    Args:
        root: Where /proc and /sys lie.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before = _read(root)
        self._after: _Reading | None = None

    def stop(self) -> None:
        """Take the second look."""
        self._after = _read(self._root)

    def state(self) -> MachineState:
        """Return what the machine was doing between the two looks; before `stop`, until now."""
        before, after = self._before, self._after or _read(self._root)
        name, _ = parse_cpuinfo(system_text(self._root / "proc/cpuinfo") or "")
        return MachineState(
            cpu=name or platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            governor=_governor(self._root),
            frequency_mhz=_both(before.frequency_mhz, after.frequency_mhz),
            load_average=_both(before.load_average, after.load_average),
            throttled=_largest_increase(before.throttle_counts, after.throttle_counts),
            steal_percent=steal_percent(before.cpu_times, after.cpu_times),
            versions=_versions(),
        )


@contextlib.contextmanager
def watching_machine(root: Path = Path("/")) -> Iterator[MachineWatch]:
    """Look at the machine before and after a block of work; `state()` of the value tells what it was doing."""
    watch = MachineWatch(root)
    try:
        yield watch
    finally:
        watch.stop()


def cpuinfo_megahertz(text: str, cpus: Iterable[int]) -> float | None:
    """Return the mean frequency that /proc/cpuinfo gives for some CPUs; None where it gives none, as on ARM."""
    wanted, found, cpu = set(cpus), [], -1
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdecimal():
            cpu = int(value)
        elif key == "cpu MHz" and cpu in wanted:
            found.append(float(value))
    return statistics.fmean(found) if found else None


def parse_load_average(text: str) -> float | None:
    """Return the load of the last minute, the first number of /proc/loadavg."""
    first = text.split(maxsplit=1)[:1]
    return float(first[0]) if first else None


def parse_cpu_times(text: str) -> tuple[int, ...] | None:
    """Return the times of all CPUs together from /proc/stat, in ticks, steal last; None where it tells no steal."""
    for line in text.splitlines():
        name, *ticks = line.split()
        if name == "cpu" and len(ticks) >= _TIMES:
            return tuple(map(int, ticks[:_TIMES]))
    return None


def steal_percent(before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> float | None:
    """Return the share of time between two readings that the hypervisor gave to others, in percent."""
    if before is None or after is None:
        return None
    passed = sum(after) - sum(before)
    # The kernel may set a counter back by a tick; then nothing was stolen.
    return 100.0 * max(0, after[_STEAL] - before[_STEAL]) / passed if passed > 0 else None


def _largest_increase(before: Mapping[str, int], after: Mapping[str, int]) -> int | None:
    """Cores of a package share some of the counters, so that their sum would count an event several times."""
    increases = [after[counter] - before[counter] for counter in before if counter in after]
    return max(increases) if increases else None


def _both(before: float | None, after: float | None) -> tuple[float, float] | None:
    return None if before is None or after is None else (before, after)


def _read(root: Path) -> _Reading:
    cpus = sorted(os.sched_getaffinity(0))
    load, stat = system_text(root / "proc/loadavg"), system_text(root / "proc/stat")
    counts = {
        f"{cpu}/{counter}": count
        for cpu in cpus
        for counter in _THROTTLE_COUNTERS
        if (count := _integer(root / _CPUS / f"cpu{cpu}" / counter)) is not None
    }
    return _Reading(
        frequency_mhz=_frequency(root, cpus),
        load_average=None if load is None else parse_load_average(load),
        throttle_counts=counts,
        cpu_times=None if stat is None else parse_cpu_times(stat),
    )


def _frequency(root: Path, cpus: Iterable[int]) -> float | None:
    """Return the mean frequency of some CPUs: of cpufreq where the system has it, else of /proc/cpuinfo."""
    kilohertz = [_integer(root / _CPUS / f"cpu{cpu}" / "cpufreq/scaling_cur_freq") for cpu in cpus]
    known = [value for value in kilohertz if value is not None]
    if known:
        return statistics.fmean(known) / 1000
    return cpuinfo_megahertz(system_text(root / "proc/cpuinfo") or "", cpus)


def _governor(root: Path) -> str | None:
    """Return the governor of the CPUs, of each kind where they differ."""
    paths = (root / _CPUS / f"cpu{cpu}" / "cpufreq/scaling_governor" for cpu in sorted(os.sched_getaffinity(0)))
    found = dict.fromkeys(text.strip() for path in paths if (text := system_text(path)) is not None)
    return ", ".join(found) or None


def _integer(path: Path) -> int | None:
    text = (system_text(path) or "").strip()
    return int(text) if text.isdecimal() else None


def _versions() -> dict[str, str]:
    installed = {package: version for package in _PACKAGES if (version := package_version(package)) is not None}
    return {"python": platform.python_version(), "edgekit": edgekit.__version__, **installed}
