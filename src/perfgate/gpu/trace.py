"""A round's GPUs over time, thinned: enough to see where power, clocks and memory moved, small enough to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import fmean

from perfgate.gpu.sample import Reading, Region, Samples, Tick

MOST_POINTS = 60  # stretches of a round: what a line of 120 pixels shows; about 1.5 kB of JSON a GPU
_TICKS_A_POINT = 2  # fewer would leave stretches empty by the jitter of sampling alone
_MIB = 2**20

Values = tuple[int | None, ...]  # one a stretch, in order; None where nothing was told in it


@dataclass(frozen=True, slots=True)
class GpuTrace:
    """One GPU over a round. Each series is empty where the GPU never told it.

    power_w, utilization_percent: means of a stretch. sm_mhz: the lowest, so that no dip is lost. temperature_c,
    memory_mib: the highest. slowed: numbers of the stretches in which heat or a power brake held clocks down; foreign:
    of those in which another's process was seen that used the GPU while it was timed.
    """

    power_w: Values = ()
    sm_mhz: Values = ()
    utilization_percent: Values = ()
    temperature_c: Values = ()
    memory_mib: Values = ()
    slowed: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """The GPUs of a round from the first sample to the last, in stretches of equal length.

    seconds: of all stretches together. timed: what metrics are of, in seconds from the first sample; regions that are
    less than a stretch apart are one.
    """

    seconds: float
    timed: tuple[Region, ...]
    gpus: tuple[GpuTrace, ...]


def traced(samples: Samples, regions: Sequence[Region], foreign: Sequence[AbstractSet[int]]) -> Trace | None:
    """The first GPUs of those sampled, as many as `foreign` has; None where there are too few samples for a line.

    foreign: by GPU the numbers of the processes of others that used it.
    """
    count = min(MOST_POINTS, len(samples.ticks) // _TICKS_A_POINT)
    if count < 2:  # noqa: PLR2004 - a line has two ends
        return None
    begin_s = samples.ticks[0].at_s
    seconds = samples.ticks[-1].at_s - begin_s
    stretches = _stretches(samples.ticks, seconds, count)
    gpus = tuple(
        _traced([[tick.gpus[at] for tick in one] for one in stretches], pids) for at, pids in enumerate(foreign)
    )
    return Trace(round(seconds, 2), tuple(_timed(regions, begin_s, seconds, seconds / count)), gpus)


def _stretches(ticks: Sequence[Tick], seconds: float, count: int) -> list[list[Tick]]:
    made: list[list[Tick]] = [[] for _ in range(count)]
    for tick in ticks:
        place = int((tick.at_s - ticks[0].at_s) / seconds * count) if seconds > 0 else 0
        made[min(place, count - 1)].append(tick)
    return made


def _traced(stretches: Sequence[Sequence[Reading]], pids: AbstractSet[int]) -> GpuTrace:
    return GpuTrace(
        _series(stretches, lambda one: one.power_w, fmean),
        _series(stretches, lambda one: one.sm_mhz, min),
        _series(stretches, lambda one: None if one.utilization is None else 100 * one.utilization, fmean),
        _series(stretches, lambda one: one.temperature_c, max),
        _series(stretches, lambda one: None if one.memory_bytes is None else one.memory_bytes / _MIB, max),
        _where(stretches, lambda one: one.is_slowed),
        _where(stretches, lambda one: any(who.pid in pids and who.busy != 0 for who in one.processes or ())),
    )


def _series(
    stretches: Sequence[Sequence[Reading]],
    read: Callable[[Reading], float | None],
    pick: Callable[[Iterable[float]], float],
) -> Values:
    told = [[value for one in stretch if (value := read(one)) is not None] for stretch in stretches]
    return tuple(round(pick(values)) if values else None for values in told) if any(told) else ()


def _where(stretches: Sequence[Sequence[Reading]], is_so: Callable[[Reading], bool]) -> tuple[int, ...]:
    return tuple(number for number, stretch in enumerate(stretches) if any(map(is_so, stretch)))


def _timed(regions: Sequence[Region], begin_s: float, seconds: float, apart_s: float) -> Iterable[Region]:
    """The regions since the first sample, within the samples."""
    inside = [
        (max(one.begin_s - begin_s, 0.0), min(one.end_s - begin_s, seconds))
        for one in sorted(regions, key=lambda one: one.begin_s)
    ]
    joined: list[Region] = []
    for begin, end in ((round(low, 2), round(high, 2)) for low, high in inside if high > low):
        last = joined.pop() if joined and begin - joined[-1].end_s < apart_s else Region(begin, end)
        joined.append(Region(last.begin_s, max(last.end_s, end)))
    return joined
