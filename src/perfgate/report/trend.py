"""A metric over the sessions of history: its line, the steps in it, and since when it is worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.measured import Point
from perfgate.metrics import Better
from perfgate.report.axis import Axis, line
from perfgate.report.figures import count, plain, worsening
from perfgate.steps import change_points
from perfgate.verdict import MetricVerdict
from perfgate.watch import PINNED

WIDTH, HEIGHT = 200, 34
MOST = 40  # newest sessions that are drawn and searched for steps
_RIM = 4
_FEWEST = 2
_DAY = 10  # characters of an ISO date


@dataclass(frozen=True, slots=True)
class Trend:
    """SVG path data; upwards is worse. steps: where the level changed. end: a dot at this run."""

    trail: str
    zero: str
    steps: str
    end: str
    said: str
    told: str  # the newest step in words; empty where there is none


def trend(metric: MetricVerdict, points: Sequence[Point], now: float | None) -> Trend | None:
    """The newest sessions and this run at the end; None where there are fewer than two in all."""
    shown = [point for point in points if math.isfinite(point.level) and point.level > 0][-MOST:]
    levels = [point.level for point in shown] + ([now] if now is not None and 0 < now < math.inf else [])
    if len(levels) < _FEWEST:
        return None
    sign = 1.0 if metric.better is Better.LOWER else -1.0
    logs = [sign * math.log(level) for level in levels]
    first = sorted(logs[:PINNED])[len(logs[:PINNED]) // 2]
    up = Axis.over([*logs, first], HEIGHT - _RIM, _RIM)
    across = Axis(0, len(logs) - 1, _RIM, WIDTH - _RIM)
    steps = [step for step in change_points(logs) if abs(step.size) > math.log1p(metric.margin)]
    change = math.expm1(logs[-1] - first)
    since = f" since {plain(shown[0].started[:_DAY])}" if shown else ""
    return Trend(
        line((across.at(i), up.at(value)) for i, value in enumerate(logs)),
        f"M0 {up.at(first):.0f}H{WIDTH}",
        "".join(f"M{across.at(step.at - 0.5):.0f} 0v{HEIGHT}" for step in steps),
        f"M{across.at(len(logs) - 1):.0f} {up.at(logs[-1]):.0f}h0",
        f"{count(len(logs), 'session')}{since}, now {worsening(change)} than the first",
        _told(steps[-1].at, steps[-1].size, shown) if steps else "",
    )


def _told(at: int, size: float, shown: Sequence[Point]) -> str:
    before = shown[at - 1]
    if at >= len(shown):
        return f"step: {worsening(math.expm1(size))} with this run, after {_where(before)}"
    return f"step: {worsening(math.expm1(size))} between {_where(before)} and {_where(shown[at])}"


def last_good(metric: MetricVerdict, points: Sequence[Point]) -> tuple[Point, Point | None] | None:
    """The newest session within the margin of the baseline, and the session after it, where history has one."""
    if metric.baseline is None or not metric.baseline > 0:
        return None
    for place in reversed(range(len(points))):
        if points[place].level > 0 and _worse_by(metric, points[place].level) <= metric.margin:
            return points[place], points[place + 1] if place + 1 < len(points) else None
    return None


def _worse_by(metric: MetricVerdict, level: float) -> float:
    assert metric.baseline is not None
    ratio = level / metric.baseline if metric.better is Better.LOWER else metric.baseline / level
    return ratio - 1.0


def _where(point: Point) -> str:
    return plain(f"{point.started[:_DAY]} ({point.commit or 'no commit'})")
