"""A metric over the sessions of history: its line, the steps in it, and since when it is worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from perfgate.measured import Point
from perfgate.metrics import Better
from perfgate.report.axis import Axis, line
from perfgate.report.figures import count, plain, signed, worsening
from perfgate.steps import Step, change_points
from perfgate.verdict import MetricVerdict

WIDTH, HEIGHT = 160, 34
_RIM = 4
_FEWEST = 2
_LARGEST = 700.0  # whose exponential a float still holds
_DAY = 10  # characters of an ISO date


@dataclass(frozen=True, slots=True)
class Trend:
    """SVG path data; upwards is worse. band: within the margin of the reference. steps: where the level changed."""

    trail: str
    band: str
    steps: str
    end: str  # a dot at this run
    said: str
    step: str  # the newest step in words; empty where there is none


def trend(
    metric: MetricVerdict, points: Sequence[Point], now: float | None, most: int = 40, *, has_steps: bool = True
) -> Trend | None:
    """The newest sessions, at most `most`, and this run at the end; None where there are fewer than two in all.

    They are drawn over the baseline's level, or over the first session where there is no baseline. has_steps: whether
    steps are searched for; the work grows with the square of the sessions.
    """
    shown = [point for point in points if 0 < point.level < math.inf][-most:]
    levels = [point.level for point in shown] + ([now] if _is_level(now) else [])
    if len(levels) < _FEWEST:
        return None
    sign = 1.0 if metric.better is Better.LOWER else -1.0
    logs = [sign * math.log(level) for level in levels]
    reference = sign * math.log(metric.baseline) if _is_level(metric.baseline) else logs[0]
    limit = reference + math.log1p(max(metric.margin, 0.0))
    up, across = Axis.over([*logs, reference, limit], HEIGHT - _RIM, _RIM), Axis(0, len(logs) - 1, _RIM, WIDTH - _RIM)
    found = change_points(logs) if has_steps else []
    steps = [step for step in found if abs(step.size) > math.log1p(metric.margin)]
    return Trend(
        line((across.at(i), up.at(value)) for i, value in enumerate(logs)),
        f"M0 {up.at(reference):.0f}H{WIDTH}V{up.at(limit):.0f}H0z",
        "".join(f"M{across.at(step.at - 0.5):.0f} 0v{HEIGHT}" for step in steps),
        f"M{across.at(len(logs) - 1):.0f} {up.at(logs[-1]):.0f}h0",
        f"{count(len(logs), 'session')}{_since(shown)}: {signed(_ratio(min(logs) - reference))} to "
        f"{signed(_ratio(max(logs) - reference))}",
        _told(steps[-1], shown) if steps else "",
    )


def _is_level(value: float | None) -> TypeGuard[float]:
    return value is not None and 0 < value < math.inf


def _ratio(logarithm: float) -> float:
    """The relative change that a difference of logarithms is; infinite where a float cannot hold it."""
    return math.expm1(logarithm) if logarithm < _LARGEST else math.inf


def _since(shown: Sequence[Point]) -> str:
    return f" since {plain(shown[0].started[:_DAY])}" if shown else ""


def _told(step: Step, shown: Sequence[Point]) -> str:
    before, size = shown[step.at - 1], worsening(_ratio(step.size))
    if step.at >= len(shown):
        return f"step: {size} with this run, after {_where(before)}"
    return f"step: {size} between {_where(before)} and {_where(shown[step.at])}"


def last_good(metric: MetricVerdict, points: Sequence[Point]) -> tuple[Point, Point | None] | None:
    """The newest session within the margin of the baseline, and the session after it, where history has one."""
    if not _is_level(metric.baseline):
        return None
    for place in reversed(range(len(points))):
        if points[place].level > 0 and _worse_by(metric, points[place].level) <= metric.margin:
            return points[place], points[place + 1] if place + 1 < len(points) else None
    return None


def _worse_by(metric: MetricVerdict, level: float) -> float:
    assert metric.baseline is not None, "asked only where there is a baseline"
    ratio = level / metric.baseline if metric.better is Better.LOWER else metric.baseline / level
    return ratio - 1.0


def _where(point: Point) -> str:
    return plain(f"{point.started[:_DAY]} ({point.commit or 'no commit'})")
