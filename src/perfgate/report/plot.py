"""The rounds of one metric as dots, and a trail as a line, in the few bytes that thousands of plots on a page allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.metrics import Better
from perfgate.report.figures import quantity, worsening
from perfgate.verdict import MetricVerdict

WIDTH, HEIGHT = 160, 20
_EDGE = 5  # room for half a dot, and to keep the extremes off the frame
_RIM = 2  # room for half a line
_UPPER, _LOWER = 6, 14  # the baseline's rounds above, the candidate's below
MOST_SAID = 12  # values read out per side


@dataclass(frozen=True, slots=True)
class Plot:
    """SVG path data: dots are strokes of no length with round ends; empty where there is nothing."""

    candidate: str
    baseline: str
    centre: str  # a line at the baseline's median
    band: str  # from the baseline to the margin: what is never red
    said: str  # the same in words


def plot(metric: MetricVerdict, candidate: Sequence[float], baseline: Sequence[float]) -> Plot | None:
    """Each round's value on one axis; None without a finite candidate value."""
    now, before = _finite(candidate), _finite(baseline)
    if not now:
        return None
    centre = metric.baseline if metric.baseline is not None and math.isfinite(metric.baseline) else None
    allowed = None if centre is None else _allowed(metric, centre)
    axis = _Axis.over([*now, *before, *(value for value in (centre, allowed) if value is not None)])
    return Plot(
        _dots(axis, now, _LOWER),
        _dots(axis, before, _UPPER),
        "" if centre is None else f"M{axis.at(centre)} 0v{HEIGHT}",
        ""
        if centre is None or allowed is None
        else f"M{axis.at(centre)} 0H{axis.at(allowed)}V{HEIGHT}H{axis.at(centre)}z",
        _said(metric, now, before),
    )


@dataclass(frozen=True, slots=True)
class Sparkline:
    """SVG path data of a trail over its sessions: upwards is worse."""

    trail: str
    zero: str  # a line at no change
    said: str  # the same in words


def sparkline(trail: Sequence[float]) -> Sparkline | None:
    """Relative changes toward worse, one a session; None where there are fewer than two."""
    if len(trail) < 2 or not all(map(math.isfinite, trail)):  # noqa: PLR2004 - a line has two ends
        return None
    axis = _Axis.over([*trail, 0.0])
    step = (WIDTH - 2 * _EDGE) / (len(trail) - 1)
    points = [f"{_EDGE + i * step:.0f} {axis.height(value)}" for i, value in enumerate(trail)]
    said = f"{len(trail)} sessions, from {worsening(min(trail))} to {worsening(max(trail))}; now {worsening(trail[-1])}"
    return Sparkline("M" + "L".join(points), f"M0 {axis.height(0.0)}H{WIDTH}", said)


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> _Axis:
        return cls(min(values), max(values))

    def at(self, value: float) -> str:
        """Pixels from the left; halves keep the range of any two finite values finite."""
        return f"{_EDGE + self._part(value) * (WIDTH - 2 * _EDGE):.0f}"

    def height(self, value: float) -> str:
        """Pixels from the top; the largest is on top."""
        return f"{_RIM + (1 - self._part(value)) * (HEIGHT - 2 * _RIM):.1f}"

    def _part(self, value: float) -> float:
        span = self.high / 2 - self.low / 2
        return (value / 2 - self.low / 2) / span if span > 0 else 0.5


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _allowed(metric: MetricVerdict, centre: float) -> float | None:
    limit = centre * (1 + metric.margin) if metric.better is Better.LOWER else centre / (1 + metric.margin)
    return limit if math.isfinite(limit) else None


def _dots(axis: _Axis, values: Sequence[float], y: int) -> str:
    return "".join(f"M{axis.at(value)} {y}h0" for value in values)


def _said(metric: MetricVerdict, now: Sequence[float], before: Sequence[float]) -> str:
    sides = {"now": now, "baseline run again": before}
    return "; ".join(f"{name} {_listed(metric, values, now[0])}" for name, values in sides.items() if values)


def _listed(metric: MetricVerdict, values: Sequence[float], like: float) -> str:
    shown = [quantity(value, metric.unit, like=like, brief=True) for value in values[:MOST_SAID]]
    unit = shown[-1].partition(" ")[2]
    listed = ", ".join([*(one.removesuffix(f" {unit}") for one in shown[:-1]), shown[-1]])
    return f"{listed} and {len(values) - MOST_SAID} more" if len(values) > MOST_SAID else listed
