"""The machine over the rounds of a run: clocks, what others took of it, memory, power."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from perfgate.gpu.seen import GpuSeen
from perfgate.record import Round, Run, Side
from perfgate.report.axis import Axis, Tick, finite, short
from perfgate.report.figures import duration, quantity, share

WIDTH, HEIGHT = 640, 72
LEFT, RIGHT, TOP, BOTTOM = 70, 8, 8, 16
MOST = 400  # rounds of a side that are drawn
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Strip:
    """One reading over time: dots of both sides, and of rounds that do not count."""

    title: str
    now: str
    before: str
    out: str
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    said: str


@dataclass(frozen=True, slots=True)
class _Reading:
    title: str
    read: Callable[[Round], float | None]
    shown: Callable[[float], str]
    from_zero: bool = True


def _mean(name: str) -> Callable[[Round], float | None]:
    def read(one: Round) -> float | None:
        found = finite(case.values[name] for case in one.cases if name in case.values)
        return fmean(found) if found else None

    return read


def _watts(one: Round) -> float | None:
    """Joules per token times tokens per second, averaged over the cases that tell both."""
    names = ("energy_j_per_token", "output_tokens_per_s")
    cases = [[case.values.get(name, math.nan) for name in names] for case in one.cases]
    found = finite(joules * rate for joules, rate in cases)
    return fmean(found) if found else None


def _gpu(read: Callable[[GpuSeen], float | None]) -> Callable[[Round], float | None]:
    """The mean over a round's GPUs."""

    def mean(one: Round) -> float | None:
        values = [read(gpu) for gpu in one.gpu.gpus] if one.gpu else []
        found = finite(value for value in values if value is not None)
        return fmean(found) if found else None

    return mean


_READINGS = (
    _Reading("core clock", lambda one: one.host.clock_mhz, lambda v: f"{quantity(v, '')} MHz", from_zero=False),
    _Reading("CPU taken by other programs", lambda one: one.host.foreign_cpu_share, share),
    _Reading("CPU taken by the hypervisor", lambda one: one.host.steal_share, share),
    _Reading("package power", _watts, lambda v: f"{quantity(v, '')} W"),
    _Reading("GPU power", _mean("gpu_power_mean_w"), lambda v: f"{quantity(v, '')} W"),
    _Reading("GPU SM clock", _gpu(lambda one: one.sm_mhz), lambda v: f"{quantity(v, '')} MHz", from_zero=False),
    _Reading("GPU temperature", _gpu(lambda one: one.temperature_most_c), lambda v: f"{v:.0f} C", from_zero=False),
    _Reading("peak memory", _mean("peak_memory_bytes"), lambda v: quantity(v, "B")),
)


def strips(run: Run) -> list[Strip]:
    """One strip for every reading that the run has; none for a run of fewer than two rounds."""
    timed = [(seconds, one) for one in run.rounds if (seconds := _seconds(one.started)) is not None]
    if len(timed) < 2:  # noqa: PLR2004 - over time needs two times
        return []
    begin = min(seconds for seconds, _ in timed)
    placed = [(seconds - begin, one) for seconds, one in timed]
    return [strip for reading in _READINGS if (strip := _strip(reading, placed)) is not None]


def _seconds(started: str) -> float | None:
    try:
        return datetime.fromisoformat(started).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _strip(reading: _Reading, placed: Sequence[tuple[float, Round]]) -> Strip | None:
    found = [(at, value, one) for at, one in placed if _is_known(value := reading.read(one)) and value is not None]
    values = [value for _, value, _ in found]
    if not values or not any(values):
        return None
    up = Axis.over([*values, *([0.0] if reading.from_zero else [])], HEIGHT - BOTTOM, TOP)
    across = Axis(0.0, max(at for at, _ in placed), LEFT, WIDTH - RIGHT)
    dots = {
        name: "".join(f"M{across.at(at):.0f} {up.at(value):.0f}h0" for at, value in _few(part))
        for name, part in _parts(found).items()
    }
    ticks = [up.low, up.high] if up.high > up.low else [up.high]
    return Strip(
        reading.title, dots["now"], dots["before"], dots["out"],
        tuple(Tick(round(up.at(value)), short(reading.shown(value))) for value in ticks),
        tuple(Tick(round(across.at(at)), _clock(at)) for at in across.ticks(_TICKS)),
        f"{reading.title}: {reading.shown(min(values))} to {reading.shown(max(values))} over {len(values):,} rounds",
    )  # fmt: skip


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _clock(seconds: float) -> str:
    return duration(seconds) if seconds else "start"


def _parts(found: Sequence[tuple[float, float, Round]]) -> Mapping[str, list[tuple[float, float]]]:
    out: dict[str, list[tuple[float, float]]] = {"now": [], "before": [], "out": []}
    for at, value, one in found:
        side = "before" if one.side is Side.BASELINE else "now"
        out[side if one.is_valid else "out"].append((at, value))
    return out


def _few(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    step = -(-len(points) // MOST) or 1
    yield from points[::step]
