"""What shows only over time or over the whole suite, as signals; a suite says which of them fail its gate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from perfgate.creep import DELTA, PINNED, Creep, creep
from perfgate.measured import Point
from perfgate.metrics import Better, Kind, Metric, Unit
from perfgate.percent import percent
from perfgate.question import Known
from perfgate.record import Run, Side
from perfgate.shift import Shift, suite_shift
from perfgate.steps import LONGEST, Step, change_points

__all__ = [
    "PINNED",
    "Commits",
    "Creep",
    "EnginePairs",
    "Shift",
    "Signal",
    "SignalKind",
    "Step",
    "change_points",
    "creep",
    "engine_pairs",
    "shift_signal",
    "suite_shift",
    "watch_trails",
]

Floats = NDArray[np.float64]
Trails = Mapping[tuple[str, str], Sequence[Point]]  # by case id and metric, each oldest first

MOST_SHOWN = 100  # sessions of a trail that a signal carries to be drawn


class SignalKind(StrEnum):
    """What the watch can see."""

    CREEP = "creep"
    SUITE_SHIFT = "suite-shift"
    CHANGE_POINT = "change-point"


@dataclass(frozen=True, slots=True)
class Commits:
    """Between which commits something changed: the last session without it, and the one that shows it."""

    last_good: str
    first_bad: str

    def __str__(self) -> str:
        return f"{self.last_good or 'unknown'}..{self.first_bad or 'unknown'}"


@dataclass(frozen=True, slots=True)
class Signal:
    """Something seen over time or over the suite."""

    kind: SignalKind
    case: str | None
    metric: str | None
    size: float  # relative change toward worse: 0.03 is 3 % worse, negative is better
    started: str | None  # UTC, ISO 8601: the first session with it
    commits: Commits | None
    text: str
    is_confirmed: bool = True  # False: the pinned engine was not measured beside; the platform may have drifted
    trail: tuple[float, ...] = ()  # relative change toward worse of the newest sessions, where it is over time

    @property
    def doubt(self) -> str:
        """' (not confirmed)' where that is so."""
        return "" if self.is_confirmed else " (not confirmed)"


# ---------------------------------------------------------------------- over time


def watch_trails(trails: Trails, metrics: Sequence[Metric], step_sessions: int = LONGEST) -> list[Signal]:
    """Creep that stands now, and steps larger than a metric's margin, of those of the metrics that have trails.

    The pinned engine of a trail is the one measured beside its newest session that has one. step_sessions: how many
    of the newest sessions are searched for steps; the work grows with the square.
    """
    limits = {metric.name: metric for metric in metrics}
    watched = {key: _Series.of(points, limits[key[1]]) for key, points in trails.items() if key[1] in limits}
    found = _creeps(watched, limits)
    newest = {key: series.newest(step_sessions) for key, series in watched.items()}
    return found + [signal for key, series in newest.items() for signal in _steps(key, series, limits[key[1]])]


@dataclass(frozen=True, slots=True)
class _Series:
    """A trail as logarithms, larger is worse: the candidate, and the pinned engine beside it or NaN."""

    points: tuple[Point, ...]
    level: Floats
    beside: Floats

    @classmethod
    def of(cls, points: Sequence[Point], metric: Metric) -> _Series:
        kept = tuple(point for point in points if point.level > 0)
        pin = next((point.baseline_key for point in reversed(kept) if point.baseline_level), None)
        sign = 1.0 if metric.better is Better.LOWER else -1.0
        beside = [point.baseline_level if point.baseline_key == pin else None for point in kept]
        return cls(
            kept,
            np.array([sign * math.log(point.level) for point in kept]),
            np.array([sign * math.log(value) if value and value > 0 else np.nan for value in beside]),
        )

    def newest(self, sessions: int) -> _Series:
        return _Series(self.points[-sessions:], self.level[-sessions:], self.beside[-sessions:])

    def shown(self, *, is_paired: bool) -> tuple[float, ...]:
        """The newest sessions' change: to the pinned engine beside, else to the first sessions."""
        change = self.level - (self.beside if is_paired else np.median(self.level[:PINNED]))
        return tuple(round(math.expm1(one), 5) for one in change[np.isfinite(change)][-MOST_SHOWN:])


def _creeps(watched: Mapping[tuple[str, str], _Series], limits: Mapping[str, Metric]) -> list[Signal]:
    if not watched:
        return []
    longest = max(len(series.points) for series in watched.values())
    level, beside = (np.full((len(watched), longest), np.nan) for _ in range(2))
    for row, series in enumerate(watched.values()):
        level[row, : len(series.points)], beside[row, : len(series.points)] = series.level, series.beside
    delta = np.array([_delta(limits[name]) for _, name in watched])
    seen = creep(level, beside, tests=len(watched), delta=delta)
    return [
        _creep_signal(key, series, seen, row) for row, (key, series) in enumerate(watched.items()) if seen.at[row] >= 0
    ]


def _delta(metric: Metric) -> float:
    """3 %, or what the metric's gate promises to find where that is less."""
    return min(DELTA, math.log1p(metric.detect)) if metric.detect > 0 else DELTA


def _creep_signal(key: tuple[str, str], series: _Series, seen: Creep, row: int) -> Signal:
    at, since = int(seen.at[row]), int(seen.since[row])
    commits = Commits(series.points[since - 1].commit, series.points[at].commit)
    size, is_confirmed = math.expm1(float(seen.size[row])), bool(seen.confirmed[row])
    against = (
        "than the pinned engine measured beside it"
        if is_confirmed
        else f"than in the first {PINNED} sessions; the platform may have drifted: the baseline's engine was not "
        "measured beside it"
    )
    started = series.points[since].started
    text = f"{key[0]} {key[1]}: now {percent(abs(size))} {_word(size)} {against}; since {started}, commits {commits}"
    trail = series.shown(is_paired=is_confirmed)
    return Signal(SignalKind.CREEP, *key, size, started, commits, text, is_confirmed, trail)


def _steps(key: tuple[str, str], series: _Series, metric: Metric) -> list[Signal]:
    """Steps of the difference to the pinned engine where most sessions have it, else of the level."""
    paired = np.isfinite(series.beside)
    is_paired = bool(paired.mean() > 0.5) if len(paired) else False  # noqa: PLR2004 - most of them
    kept = np.flatnonzero(paired) if is_paired else np.arange(len(series.points))
    values = series.level[kept] - (series.beside[kept] if is_paired else 0.0)
    return [
        _step_signal(key, [series.points[i] for i in kept], step, is_paired=is_paired)
        for step in change_points(values.tolist())
        if abs(step.size) > math.log1p(metric.margin)
    ]


def _step_signal(key: tuple[str, str], points: Sequence[Point], step: Step, *, is_paired: bool) -> Signal:
    started, size = points[step.at].started, math.expm1(step.size)
    commits = Commits(points[step.at - 1].commit, points[step.at].commit)
    text = f"{key[0]} {key[1]}: a step to {percent(abs(size))} {_word(size)} on {started}, commits {commits}"
    return Signal(SignalKind.CHANGE_POINT, *key, size, started, commits, text, is_paired)


def _word(size: float) -> str:
    return "worse" if size > 0 else "better"


# ---------------------------------------------------------------------- over the suite


@dataclass(frozen=True, slots=True)
class EnginePairs:
    """What `suite_shift` asks of a run: columns are the same workload and metric in every engine.

    ratios: [engine, column, pair], log of candidate against baseline, larger is worse, NaN padded.
    variance: [engine, column] of one ratio, as history knows it; NaN where it does not.
    """

    engines: tuple[str, ...]
    ratios: Floats
    variance: Floats


def engine_pairs(run: Run, metrics: Sequence[Metric], known: Known | None = None) -> EnginePairs:
    """The run's pairs by engine in the metrics of speed, and the noise that `History.known` tells of."""
    engines = tuple(dict.fromkeys(case.engine for case in run.cases if case.skip is None))
    ratios: dict[tuple[str, str], list[float]] = {}
    variance: dict[tuple[str, str], float] = {}
    for case in run.cases:
        for metric in filter(_tells_speed, metrics):
            sign = 1.0 if metric.better is Better.LOWER else -1.0
            found = [sign * math.log(b / a) for a, b in _beside(run, case.id, metric.name) if a > 0 and b > 0]
            if found:
                cell = case.engine, f"{case.id.removeprefix(case.engine)} {metric.name}"
                ratios[cell], variance[cell] = found, _pair_variance((known or {}).get((case.id, metric.name), ()))
    columns = sorted({column for _, column in ratios})
    shape = len(engines), len(columns), max(map(len, ratios.values()), default=0)
    out = EnginePairs(engines, np.full(shape, np.nan), np.full(shape[:2], np.nan))
    for (engine, column), found in ratios.items():
        place = engines.index(engine), columns.index(column)
        out.ratios[place][: len(found)] = found
        out.variance[place] = variance[engine, column]
    return out


def _beside(run: Run, case: str, metric: str) -> list[tuple[float, float]]:
    """Pairs that ran next to each other; where rounds came one by one (BAAB), the n-th of either side."""
    sides = (run.values(case, metric, side) for side in (Side.BASELINE, Side.CANDIDATE))
    return run.pairs(case, metric) or list(zip(*sides, strict=False))


def _tells_speed(metric: Metric) -> bool:
    """Latencies and rates; memory or size, which hardly scatter, would outweigh them."""
    units = (Unit.SECONDS, Unit.TOKENS_PER_S, Unit.REQUESTS_PER_S)
    return metric.kind is Kind.NOISY and metric.is_of("latency") and metric.unit in units


def _pair_variance(sessions: Sequence[Sequence[float]]) -> float:
    """Twice the variance of rounds within sessions; NaN where no session has two."""
    logs = [np.log(rounds) for rounds in sessions if len(rounds) > 1 and min(rounds) > 0]
    df = sum(len(rounds) - 1 for rounds in logs)
    return 2 * sum(float(((rounds - rounds.mean()) ** 2).sum()) for rounds in logs) / df if df else math.nan


def shift_signal(shift: Shift, engines: Sequence[str], run: Run) -> Signal | None:
    """A suite-wide shift in words; None where there is none."""
    if shift.size is None or shift.error is None or not (shift.is_slower or shift.is_faster):
        return None
    size = math.expm1(shift.size)
    carriers = ", ".join(engines[i] for i in shift.carriers) or "none on its own"
    text = (
        f"all {shift.engines} engines together are {percent(abs(size))} {_word(size)} "
        f"(standard error {percent(shift.error)}); standing out: {carriers}"
    )
    return Signal(SignalKind.SUITE_SHIFT, None, None, size, run.started, None, text)
