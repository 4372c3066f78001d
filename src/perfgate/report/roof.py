"""The roofline of a device with the phases of each case: FLOPs a second over FLOPs a byte, both in logarithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from perfgate.distances import Phase, nearness
from perfgate.record import Run
from perfgate.report.axis import Axis, Tick, short
from perfgate.report.figures import count, quantity, share
from perfgate.roofline import Limits, Work

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 96, 16, 18, 36
MOST_NAMED = 80  # phases up to which each says on hovering what it is
_MOST_TICKS = 8
_ROOM = 0.2  # decades beside the outermost phases
_SCALES = ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"), (1.0, "FLOP/s"))


@dataclass(frozen=True, slots=True)
class Mark:
    """One phase, or many, as dots (SVG path data), and in words."""

    path: str
    said: str


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A matrix rate: a level line that begins at the slope. y: where its name stands."""

    path: str
    name: str
    y: int


@dataclass(frozen=True, slots=True)
class Roof:
    """The picture. slope: the copy bandwidth, up to the highest rate. said: what it is, in words."""

    slope: str
    ceilings: tuple[Ceiling, ...]
    decode: tuple[Mark, ...]
    prefill: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    said: str


@dataclass(frozen=True, slots=True)
class _Spot:
    """A phase of a case: FLOPs a byte and FLOPs a second, as logarithms to base 10."""

    intensity: float
    rate: float
    said: str


def roof(run: Run) -> Roof | None:
    """The cases of this build under the measured limits of their device; None where no phase can be placed."""
    if run.limits is None:
        return None
    decode, prefill = list[_Spot](), list[_Spot]()
    for one in nearness(run, run.limits):
        demand = run.limits.demands[one.case]
        decode += _spots(f"{one.case}, decode", one.decode, demand.decode)
        prefill += _spots(f"{one.case}, prefill", one.prefill, demand.prefill)
    return _drawn(decode, prefill, run.limits) if decode or prefill else None


def _spots(name: str, phase: Phase, work: Work | None) -> Iterator[_Spot]:
    if work is None or phase.distance is None:
        return
    numbers = (work.flops, work.moved_bytes, phase.distance.seconds)
    if not all(0 < number < math.inf for number in numbers):
        return
    rate = work.flops / phase.distance.seconds
    said = f"{name}: {_flops(rate)}, {share(1 / phase.distance.times)} of its limit"
    yield _Spot(math.log10(work.flops / work.moved_bytes), math.log10(rate), said)


def _flops(rate: float) -> str:
    scale, name = next((one for one in _SCALES if rate >= one[0]), _SCALES[-1])
    return f"{quantity(rate / scale, '')} {name}"


def _drawn(decode: Sequence[_Spot], prefill: Sequence[_Spot], limits: Limits) -> Roof:
    spots, rates = [*decode, *prefill], _rates(limits)
    copies = math.log10(limits.ceilings.copy_bytes_per_s.median)
    corners = [math.log10(rate) - copies for rate in rates.values()]  # from where on a rate is the limit
    across = _with_room([*(one.intensity for one in spots), *corners], LEFT, WIDTH - RIGHT)
    up = _with_room(
        [*(one.rate for one in spots), *map(math.log10, rates.values()), copies + across.low], HEIGHT - BOTTOM, TOP
    )
    top = max(corners, default=across.high)
    return Roof(
        _line(across, up, (across.low, copies + across.low), (top, copies + top)),
        tuple(_ceilings(rates, copies, across, up)),
        tuple(_marks(decode, across, up)),
        tuple(_marks(prefill, across, up)),
        tuple(_ticks(across, lambda value: short(quantity(value, "")))),
        tuple(_ticks(up, lambda value: short(_flops(value)))),
        f"roofline of {limits.ceilings.device}: {count(len(decode), 'decode phase')}, "
        f"{count(len(prefill), 'prefill phase')}, as in the table below",
    )


def _rates(limits: Limits) -> dict[str, float]:
    """The matrix rates that the cases are held against."""
    known = limits.ceilings.matrix_flops
    firsts = (next((name for name in one.rates if name in known), None) for one in limits.demands.values())
    return {name: known[name].median for name in dict.fromkeys(firsts) if name is not None}


def _with_room(values: Iterable[float], begin: float, end: float) -> Axis:
    found = list(values)
    return Axis(min(found) - _ROOM, max(found) + _ROOM, begin, end)


def _ceilings(rates: Mapping[str, float], copies: float, across: Axis, up: Axis) -> Iterator[Ceiling]:
    """The name of the highest stands above its line and those of the others below, clear of each other's lines."""
    for name, flops in rates.items():
        rate = math.log10(flops)
        path = _line(across, up, (rate - copies, rate), (across.high, rate))
        drop = -5 if flops == max(rates.values()) else 13
        yield Ceiling(path, f"{name} {short(_flops(flops))}", round(up.at(rate)) + drop)


def _line(across: Axis, up: Axis, begin: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (a, b) = ((round(across.at(x)), round(up.at(y))) for x, y in (begin, end))
    return f"M{x} {y}L{a} {b}"


def _marks(spots: Sequence[_Spot], across: Axis, up: Axis) -> Iterator[Mark]:
    each = [Mark(f"M{across.at(one.intensity):.0f} {up.at(one.rate):.0f}h0", one.said) for one in spots]
    if len(each) <= MOST_NAMED:
        yield from each
    else:
        yield Mark("".join(one.path for one in each), count(len(each), "phase"))


def _ticks(axis: Axis, shown: Callable[[float], str]) -> Iterator[Tick]:
    """Powers of ten, as many as there is room for."""
    powers = range(math.ceil(axis.low), math.floor(axis.high) + 1)
    step = -(-len(powers) // _MOST_TICKS) or 1
    yield from (Tick(round(axis.at(power)), shown(10.0**power)) for power in powers[::step])
