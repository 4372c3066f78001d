"""Samples of GPUs summed up over timed regions: energy, clocks, throttling, and who else was there."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from statistics import fmean

from perfgate.gpu.facts import GpuProcess
from perfgate.gpu.sample import Reading, Region, Samples, Sampling, Tick
from perfgate.gpu.trace import Trace

GAP_PERIODS = 3.0  # ticks further apart than so many periods leave a gap: what happened in it is not known
FEWEST = 5  # samples from which a move of clocks is told
REFRESH_S = 1.0  # how old reasons may be: an H200 renews them once a second, its clocks and power more often
IDLE, POWER_CAP = "idle", "power cap"
_LOW, _MIDDLE, _HIGH = 0.05, 0.5, 0.95


class EnergyBy(StrEnum):
    """How energy was found: by the GPU's own counter, or by integrating power over time."""

    COUNTER = "counter"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class GpuSeen:
    """One GPU over the timed regions of a round; None is what it did not tell.

    samples: how many fell into the regions. gaps: stretches of the regions longer than 3 periods without one.
    sm_low_mhz, sm_mhz, sm_high_mhz: 5th, 50th and 95th percentile of the SM clock while the GPU worked.
    reasons: shares of the samples in which clocks were held down, by why.
    clock_move: 1 - low/high (5th and 95th percentile) of the SM or memory clock, whichever moved more, over samples
    that are more than 1 s from any that was idle or at the power cap; None with fewer than 5 of them.
    """

    uuid: str
    samples: int
    gaps: int = 0
    seconds: float = 0.0
    energy_j: float | None = None
    energy_by: EnergyBy | None = None
    sm_low_mhz: float | None = None
    sm_mhz: float | None = None
    sm_high_mhz: float | None = None
    mem_mhz: float | None = None
    clock_move: float | None = None
    temperature_most_c: float | None = None
    utilization: float | None = None
    memory_most_bytes: float | None = None
    reasons: Mapping[str, float] = field(default_factory=dict)
    foreign: tuple[GpuProcess, ...] = ()  # processes of others that used it, or of which that cannot be told
    idle_foreign: tuple[GpuProcess, ...] = ()  # those that only held memory
    unknown: tuple[GpuProcess, ...] = ()  # may be our own: their numbers are of another container

    @property
    def power_mean_w(self) -> float | None:
        return None if self.energy_j is None or not self.seconds else self.energy_j / self.seconds

    @property
    def is_energy_sure(self) -> bool:
        """A counter bridges gaps; an integral over a gap is a guess."""
        return self.energy_j is not None and (self.energy_by is EnergyBy.COUNTER or not self.gaps)


@dataclass(frozen=True, slots=True)
class GpuRound:
    """What the GPUs of a round did while it was timed.

    lock: what became of a wish for locked clocks; None: there was none. fault: why less is known than should be.
    trace: the whole round over time; None where it is not kept.
    """

    gpus: tuple[GpuSeen, ...]
    sampling: Sampling | None = None
    lock: str | None = None
    fault: str | None = None
    trace: Trace | None = None


def seen(samples: Samples, regions: Sequence[Region], first: int | None = None) -> tuple[GpuSeen, ...]:
    """The first so many GPUs, or all, over these regions."""
    return tuple(_seen(samples, at, regions) for at in range(len(samples.uuids[:first])))


def _seen(samples: Samples, at: int, regions: Sequence[Region]) -> GpuSeen:
    inside = [tick.gpus[at] for tick in samples.ticks if any(region.holds(tick.at_s) for region in regions)]
    energy_j, by = _energy(samples, at, regions)
    working = [one for one in inside if one.reasons is None or IDLE not in one.reasons]
    sm = _told(one.sm_mhz for one in working)
    others, idle, unknown = _foreign(samples.ticks, at, regions)
    return GpuSeen(
        uuid=samples.uuids[at],
        samples=len(inside),
        gaps=gaps(samples, regions),
        seconds=sum(region.seconds for region in regions),
        energy_j=energy_j,
        energy_by=by,
        sm_low_mhz=percentile(sm, _LOW),
        sm_mhz=percentile(sm, _MIDDLE),
        sm_high_mhz=percentile(sm, _HIGH),
        mem_mhz=percentile(_told(one.mem_mhz for one in working), _MIDDLE),
        clock_move=_clock_move(_free(samples.ticks, at, regions)),
        temperature_most_c=max(_told(one.temperature_c for one in inside), default=None),
        utilization=fmean(busy) if (busy := _told(one.utilization for one in inside)) else None,
        memory_most_bytes=max(_told(one.memory_bytes for one in inside), default=None),
        reasons=_shares(inside),
        foreign=others,
        idle_foreign=idle,
        unknown=unknown,
    )


def _told(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def percentile(values: Sequence[float], share: float) -> float | None:
    """By linear interpolation between the order statistics; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def gaps(samples: Samples, regions: Sequence[Region]) -> int:
    """Stretches without a tick, over 3 periods long, that reach into a region."""
    at = [tick.at_s for tick in samples.ticks]
    begin = min((one.begin_s for one in regions), default=0.0)
    end = max((one.end_s for one in regions), default=0.0)
    most = GAP_PERIODS * samples.period_s
    between = pairwise([min(begin, *at), *at, max(end, *at)] if at else [begin, end])
    return sum(
        later - sooner > most and any(later > one.begin_s and sooner < one.end_s for one in regions)
        for sooner, later in between
    )


# ------------------------------------------------------------------ energy


def _energy(samples: Samples, at: int, regions: Sequence[Region]) -> tuple[float | None, EnergyBy | None]:
    """Joules over the regions: the counter's difference, or else the integral of power."""
    counter = [(tick.at_s, value) for tick in samples.ticks if (value := tick.gpus[at].energy_j) is not None]
    power = [(tick.at_s, value) for tick in samples.ticks if (value := tick.gpus[at].power_w) is not None]
    for by, points, energy in ((EnergyBy.COUNTER, counter, _counted), (EnergyBy.POWER, power, _integrated)):
        found = [energy(points, region) for region in regions]
        if found and all(one is not None for one in found):
            return sum(filter(None, found)), by
    return None, None


_Points = Sequence[tuple[float, float]]  # (seconds, value), ascending


def _counted(points: _Points, region: Region) -> float | None:
    """The counter's difference between begin and end, each read off the line between the ticks around it."""
    begin, end = (_on_line(points, at_s) for at_s in (region.begin_s, region.end_s))
    if begin is None or end is None or any(later < earlier for (_, earlier), (_, later) in pairwise(points)):
        return None  # not sampled all through, or the counter began anew
    return end - begin


def _integrated(points: _Points, region: Region) -> float | None:
    """The area under the lines between samples of power."""
    ends = [(at_s, _on_line(points, at_s)) for at_s in (region.begin_s, region.end_s)]
    known = [(at_s, watts) for at_s, watts in ends if watts is not None]
    if len(known) < len(ends):
        return None
    inner = [point for point in points if region.begin_s < point[0] < region.end_s]
    path = [known[0], *inner, known[1]]
    return sum((later - sooner) * (one + other) / 2 for (sooner, one), (later, other) in pairwise(path))


def _on_line(points: _Points, at_s: float) -> float | None:
    """The value at a moment, on the line between the points around it; None outside of them."""
    for (sooner, one), (later, other) in pairwise(points):
        if sooner <= at_s <= later:
            return one + (other - one) * (at_s - sooner) / (later - sooner) if later > sooner else one
    return None


# ------------------------------------------------------------------ clocks


def _free(ticks: Sequence[Tick], at: int, regions: Sequence[Region]) -> list[Reading]:
    """Readings whose clocks neither idling nor the power cap explains, however late reasons are told."""
    told = [(tick.at_s, tick.gpus[at]) for tick in ticks if tick.gpus[at].reasons is not None]
    explained = [at_s for at_s, one in told if not {IDLE, POWER_CAP}.isdisjoint(one.reasons or ())]
    inside = [(at_s, one) for at_s, one in told if any(region.holds(at_s) for region in regions)]
    return [one for at_s, one in inside if _distance(at_s, explained) > REFRESH_S]


def _distance(at_s: float, moments: Sequence[float]) -> float:
    """To the nearest of ascending moments; infinite where there is none."""
    place = bisect_left(moments, at_s)
    return min((abs(at_s - one) for one in moments[max(0, place - 1) : place + 1]), default=math.inf)


def _clock_move(free: Sequence[Reading]) -> float | None:
    if len(free) < FEWEST:
        return None
    reads: tuple[Callable[[Reading], int | None], ...] = (lambda one: one.sm_mhz, lambda one: one.mem_mhz)
    moves = [_move(_told(read(one) for one in free)) for read in reads]
    return max(_told(moves), default=None)


def _move(clocks: Sequence[float]) -> float | None:
    low, high = percentile(clocks, _LOW), percentile(clocks, _HIGH)
    return 1.0 - low / high if low is not None and high and len(clocks) >= FEWEST else None


def _shares(inside: Sequence[Reading]) -> dict[str, float]:
    told = [one.reasons for one in inside if one.reasons is not None]
    counts = Counter(name for reasons in told for name in reasons)
    return {name: count / len(told) for name, count in sorted(counts.items())}


# ------------------------------------------------------------------ others


def _foreign(
    ticks: Sequence[Tick], at: int, regions: Sequence[Region]
) -> tuple[tuple[GpuProcess, ...], tuple[GpuProcess, ...], tuple[GpuProcess, ...]]:
    """Processes that are not our own: those that used the GPU, those that were idle, and those that may be ours.

    Within a container NVML may give numbers that mean nothing here, also for our own processes. Such a process is
    another's if it was there before the round began (the first look), or if NVML does know ours by our numbers.
    """
    looks = [(tick.at_s, found) for tick in ticks if (found := tick.gpus[at].processes) is not None]
    before = {one.pid for one in looks[0][1]} if looks else set()
    knows_ours = any(one.is_own for _, found in looks for one in found)
    used, idle, unknown = dict[int, GpuProcess](), dict[int, GpuProcess](), dict[int, GpuProcess]()
    for one in (one for _, found in _around(looks, regions) for one in found if not one.is_own):
        if one.is_own is None and not knows_ours and one.pid not in before:
            unknown[one.pid] = one
        elif one.busy is None or one.busy > 0:
            used[one.pid] = one
        else:
            idle[one.pid] = one
    alone = [one for pid, one in idle.items() if pid not in used]
    return tuple(used.values()), tuple(alone), tuple(unknown.values())


_Looks = Sequence[tuple[float, tuple[GpuProcess, ...]]]


def _around(looks: _Looks, regions: Sequence[Region]) -> _Looks:
    """The looks within regions, and the last one before and the first one behind each: they are a second apart."""
    kept: set[int] = set()
    for region in regions:
        inside = [number for number, (at_s, _) in enumerate(looks) if region.holds(at_s)]
        sooner = [number for number, (at_s, _) in enumerate(looks) if at_s < region.begin_s][-1:]
        later = [number for number, (at_s, _) in enumerate(looks) if at_s > region.end_s][:1]
        kept.update(inside or [*sooner, *later])
    return [looks[number] for number in sorted(kept)]
