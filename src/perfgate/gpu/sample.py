"""What the sampler writes down: readings of each GPU at one moment, and what sampling itself cost."""

from __future__ import annotations

from dataclasses import dataclass

from perfgate.gpu.facts import GpuProcess

PERIOD_S = 0.1  # clocks and power are refreshed by the driver about this often: sampling faster tells nothing new
# What a GPU does when it cannot go on as it was: heat, or power that the machine withdraws. The driver's power cap
# is none of these: a busy GPU runs at its limit all the time, in every round alike, and the limit is a setting
# that runs record and compare.
THROTTLING = frozenset({"hardware slowdown", "thermal slowdown (driver)", "thermal slowdown (hardware)", "power brake"})


@dataclass(frozen=True, slots=True)
class Region:
    """A timed stretch, on the machine's monotonic clock (`perf_counter`), which all processes share."""

    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        return self.end_s - self.begin_s

    def holds(self, at_s: float) -> bool:
        return self.begin_s <= at_s <= self.end_s


@dataclass(frozen=True, slots=True)
class Reading:
    """One GPU at one moment; None is what it did not tell. energy_j: its counter, since the driver was loaded.

    processes: None where they were not looked at this time, or NVML does not list them.
    """

    power_w: float | None = None
    energy_j: float | None = None
    sm_mhz: int | None = None
    mem_mhz: int | None = None
    temperature_c: int | None = None
    utilization: float | None = None
    memory_bytes: int | None = None
    reasons: tuple[str, ...] | None = None
    processes: tuple[GpuProcess, ...] | None = None

    @property
    def is_slowed(self) -> bool:
        """Whether heat or a power brake holds its clocks down."""
        return self.reasons is not None and not THROTTLING.isdisjoint(self.reasons)


@dataclass(frozen=True, slots=True)
class Tick:
    """All GPUs of a round, one after the other. at_s: on the clock of `Region`."""

    at_s: float
    gpus: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """What sampling cost: CPU seconds of its process over `wall_s`, and how long the readings of one moment took.

    cpus: the cores that it kept to; empty: any.
    """

    period_s: float
    ticks: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    tick_mean_s: float = 0.0
    tick_most_s: float = 0.0
    cpus: tuple[int, ...] = ()

    @property
    def cpu_share(self) -> float:
        """CPU time of sampling as a share of one core's."""
        return self.cpu_s / self.wall_s if self.wall_s else 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the sampler's file: a tick, or beside it what it has to say."""

    tick: Tick | None = None
    lock_fault: str | None = None  # why clocks could not be set, if they were to be
    sampling: Sampling | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Samples:
    """Of these GPUs, all that a sampler wrote. fault: why it has less to tell than it should."""

    uuids: tuple[str, ...]
    period_s: float
    ticks: tuple[Tick, ...] = ()
    sampling: Sampling | None = None
    lock_fault: str | None = None
    fault: str | None = None
