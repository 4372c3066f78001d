"""The machine while a round is timed: CPU of this process and of others, steal, memory, energy.

Counters are read before and after a timed region, never inside it.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from perfgate.record import Host

_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


@dataclass(frozen=True, slots=True)
class Counters:
    """Readings at one moment, in seconds (CPU counters in seconds of all cores together)."""

    wall_s: float
    own_cpu_s: float
    busy_cpu_s: float | None  # user, nice, system, irq: the whole machine
    steal_cpu_s: float | None
    energy_j: float | None


def read_counters() -> Counters:
    """Read every counter that this machine has; the others are None."""
    busy, steal = _machine_cpu()
    return Counters(time.perf_counter(), time.process_time(), busy, steal, _energy_j())


def host_between(before: Counters, after: Counters) -> Host:
    """What other programs took of the machine between two readings, at most all of it: the kernel counts in ticks."""
    total = max(after.wall_s - before.wall_s, 1e-9) * (os.cpu_count() or 1)
    if before.busy_cpu_s is None or after.busy_cpu_s is None or before.steal_cpu_s is None or after.steal_cpu_s is None:
        return Host(clock_mhz=clock_mhz())
    foreign = after.busy_cpu_s - before.busy_cpu_s - (after.own_cpu_s - before.own_cpu_s)
    steal = after.steal_cpu_s - before.steal_cpu_s
    return Host(_share(foreign / total), _share(steal / total), clock_mhz())


def _share(size: float) -> float:
    return min(max(0.0, size), 1.0)


def energy_between(before: Counters, after: Counters) -> float | None:
    """Joules of the CPU package, or None where no counter is readable or it wrapped."""
    if before.energy_j is None or after.energy_j is None or after.energy_j < before.energy_j:
        return None
    return after.energy_j - before.energy_j


def peak_memory_bytes() -> int:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _machine_cpu() -> tuple[float | None, float | None]:
    """Busy and stolen CPU seconds of the machine since boot (`proc_stat(5)`, first line)."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words[1:9])
    except (OSError, ValueError, IndexError):
        return None, None
    hertz = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / hertz, steal / hertz


def _energy_j() -> float | None:
    try:
        return int(_RAPL.read_text()) / 1e6
    except (OSError, ValueError):
        return None


def clock_mhz() -> float | None:
    """What the first core runs at now; None where the system does not tell, as in most virtual machines."""
    try:
        return int(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text()) / 1000
    except (OSError, ValueError):
        return None
