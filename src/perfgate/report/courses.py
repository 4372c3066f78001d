"""The GPUs within the rounds: power, clock, utilisation, temperature and memory from a round's begin to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from perfgate.gpu.sample import Region
from perfgate.gpu.seen import IDLE, GpuRound, GpuSeen
from perfgate.gpu.trace import GpuTrace, Trace, Values
from perfgate.gpu.validity import GpuLimits
from perfgate.record import Round, Run, Side
from perfgate.report.axis import Axis, line
from perfgate.report.figures import count, duration, share

WIDTH, HEIGHT = 122, 30
MOST_ROUNDS, MOST_OF_MANY = 40, 8  # rounds that are drawn; of runs of many cases, whose figures need the room
MANY_CASES = 40
_EDGE = 3
_SLOWED_AT, _FOREIGN_AT = 3, HEIGHT - 2  # heights of the two sorts of marks


@dataclass(frozen=True, slots=True)
class Course:
    """One reading over one round, all GPUs on one axis; SVG path data. said: the same in words."""

    path: str
    said: str


@dataclass(frozen=True, slots=True)
class Row:
    """A round: its courses as the columns name them, None where a reading was not told.

    timed, slowed, foreign: SVG path data of the timed regions, and of marks, the same in every course.
    """

    engine: str
    index: int
    side: Side
    is_valid: bool
    courses: tuple[Course | None, ...]
    timed: str
    slowed: str
    foreign: str
    seconds: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Courses:
    """The rounds that are drawn. columns: each reading and its scale. left_out: what is not drawn; empty: all is."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    left_out: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """span: what the axis holds beside the values. least: the least size of the axis, as a share of its high end.

    scale: from the unit that is kept to the one that is shown.
    """

    title: str
    read: Callable[[GpuTrace], Values]
    unit: str
    span: tuple[float, ...] = ()
    least: float = 0.0
    scale: float = 1.0
    digits: int = 0

    def shown(self, low: float, high: float) -> str:
        first, last = (f"{value * self.scale:,.{self.digits}f}" for value in (low, high))
        return f"{last} {self.unit}" if first == last else f"{first} to {last} {self.unit}"


_READINGS = (
    _Reading("power", lambda one: one.power_w, "W", (0.0,)),
    # A step of 15 MHz must not look like a collapse: 5 % is what a round may move.
    _Reading("SM clock", lambda one: one.sm_mhz, "MHz", least=GpuLimits().clock_move),
    _Reading("utilisation", lambda one: one.utilization_percent, "%", (0.0, 100.0)),
    _Reading("temperature", lambda one: one.temperature_c, "C", least=0.25),
    _Reading("memory", lambda one: one.memory_mib, "GB", (0.0,), scale=2**20 / 1e9, digits=1),
)


def courses(run: Run, failed: Collection[str]) -> Courses | None:
    """The rounds whose course is kept; None where there is none.

    failed: engines that a reader asks about. Where there are too many rounds, those that do not count or were
    disturbed are drawn first, then those of these engines.
    """
    known = [(one, one.gpu, one.gpu.trace) for one in run.rounds if one.gpu and one.gpu.trace]
    most = MOST_ROUNDS if len(run.cases) <= MANY_CASES else MOST_OF_MANY
    shown = sorted(known, key=lambda each: (not _is_notable(each[0], each[2]), each[0].engine not in failed))[:most]
    axes = [(reading, axis) for reading in _READINGS if (axis := _axis(reading, [trace for _, _, trace in shown]))]
    if not axes:
        return None
    shown.sort(key=lambda each: (each[0].engine, each[0].index))
    return Courses(
        tuple((reading.title, reading.shown(axis.low, axis.high)) for reading, axis in axes),
        tuple(_row(one, gpu, trace, axes) for one, gpu, trace in shown),
        f"{count(len(shown), 'round')} of {len(known):,} drawn, those that do not count or were disturbed first"
        if len(shown) < len(known)
        else "",
    )


def _is_notable(one: Round, trace: Trace) -> bool:
    return not one.is_valid or any(gpu.slowed or gpu.foreign for gpu in trace.gpus)


def _axis(reading: _Reading, traces: Iterable[Trace]) -> Axis | None:
    values = [value for trace in traces for gpu in trace.gpus for value in reading.read(gpu) if value is not None]
    if not values:
        return None
    high = max([*values, *reading.span])
    return Axis.over([*values, *reading.span, high * (1 - reading.least)], HEIGHT - _EDGE, _EDGE)


def _row(one: Round, gpu: GpuRound, trace: Trace, axes: Sequence[tuple[_Reading, Axis]]) -> Row:
    slowed, foreign = ({at for each in trace.gpus for at in pick(each)} for pick in _MARKS)
    size = max((len(reading.read(each)) for reading, _ in axes for each in trace.gpus), default=0)
    return Row(
        one.engine,
        one.index,
        one.side,
        one.is_valid,
        tuple(_course(reading, axis, trace) for reading, axis in axes),
        _shaded(trace.timed, trace.seconds),
        _marks(slowed, size, _SLOWED_AT),
        _marks(foreign, size, _FOREIGN_AT),
        duration(trace.seconds),
        tuple(_remarks(gpu)),
    )


_MARKS: tuple[Callable[[GpuTrace], tuple[int, ...]], ...] = (lambda one: one.slowed, lambda one: one.foreign)


def _course(reading: _Reading, axis: Axis, trace: Trace) -> Course | None:
    found = [reading.read(gpu) for gpu in trace.gpus]
    told = [value for values in found for value in values if value is not None]
    if not told:
        return None
    path = "".join(line(points) for values in found for points in _pieces(values, axis))
    return Course(path, f"{reading.title} {reading.shown(min(told), max(told))}")


def _pieces(values: Values, axis: Axis) -> Iterator[list[tuple[float, float]]]:
    """The values as points, anew behind each stretch in which nothing was told."""
    piece: list[tuple[float, float]] = []
    for at, value in enumerate(values):
        if value is not None:
            piece.append((_middle(at, len(values)), axis.at(value)))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _middle(at: int, size: int) -> float:
    return 1 + (at + 0.5) * (WIDTH - 2) / size


def _shaded(timed: Sequence[Region], seconds: float) -> str:
    if not 0 < seconds < math.inf:
        return ""
    across = Axis(0.0, seconds, 1, WIDTH - 1)
    ends = ((round(across.at(one.begin_s)), round(across.at(one.end_s))) for one in timed)
    return "".join(f"M{low} 0h{size}v{HEIGHT}h-{size}z" for low, high in ends for size in [max(high - low, 1)])


def _marks(places: Collection[int], size: int, height: int) -> str:
    return "".join(f"M{_middle(at, size):.0f} {height}h0" for at in sorted(places) if at < size)


def _remarks(gpu: GpuRound) -> Iterator[str]:
    for at, one in enumerate(gpu.gpus):
        told = "; ".join(_said(one))
        if told:
            yield f"GPU {at}: {told}" if len(gpu.gpus) > 1 else told
    yield from filter(None, (gpu.lock, gpu.fault))


def _said(one: GpuSeen) -> Iterator[str]:
    yield from (f"{name} in {share(part)}" for name, part in one.reasons.items() if name != IDLE and part)
    yield from (f"used by another's {who}" for who in one.foreign)
