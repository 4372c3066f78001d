"""The rounds of one metric as dots, and a trail as a line, in the few bytes that thousands of plots on a page allow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfgate.metrics import Better
from perfgate.report.axis import Axis, finite, thinned
from perfgate.report.figures import quantity, worsening
from perfgate.verdict import MetricVerdict

WIDTH, HEIGHT = 200, 34
_EDGE = 5  # room for half a dot, and to keep the extremes off the frame
_RIM = 2  # room for half a line
_STORED, _AGAIN, _NOW = 6, 17, 28  # heights: the stored baseline, the baseline run again, this build
MOST_DOTS = 40  # stored rounds that are drawn


@dataclass(frozen=True, slots=True)
class Plot:
    """SVG path data: dots are strokes of no length with round ends; empty where there is nothing."""

    candidate: str
    baseline: str  # run again beside
    stored: str
    centre: str  # a line at the baseline's median
    band: str  # from the baseline to the margin: what is never red
    low: str  # the values at the two ends
    high: str
    said: str  # the same in words


def plot(
    metric: MetricVerdict, candidate: Sequence[float], baseline: Sequence[float], stored: Sequence[float] = ()
) -> Plot | None:
    """Each round's value on one axis; None without a finite candidate value."""
    now, again, before = finite(candidate), finite(baseline), thinned(finite(stored), MOST_DOTS)
    if not now:
        return None
    centre = metric.baseline if metric.baseline is not None and math.isfinite(metric.baseline) else None
    allowed = None if centre is None else _allowed(metric, centre)
    known = [value for value in (centre, allowed) if value is not None]
    axis = Axis.over([*now, *again, *before, *known], _EDGE, WIDTH - _EDGE)
    at = None if centre is None else f"{axis.at(centre):.0f}"
    return Plot(
        _dots(axis, now, _NOW),
        _dots(axis, again, _AGAIN),
        _dots(axis, before, _STORED),
        "" if at is None else f"M{at} 0v{HEIGHT}",
        "" if at is None or allowed is None else f"M{at} 0H{axis.at(allowed):.0f}V{HEIGHT}H{at}z",
        quantity(axis.low, metric.unit, like=axis.high, brief=True),
        quantity(axis.high, metric.unit, brief=True),
        "; ".join(_said(metric, now, again, before)),
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
    across, up = Axis(0, len(trail) - 1, _EDGE, WIDTH - _EDGE), Axis.over([*trail, 0.0], HEIGHT - _RIM, _RIM)
    points = [f"{across.at(i):.0f} {up.at(value):.1f}" for i, value in enumerate(trail)]
    said = f"{len(trail)} sessions, from {worsening(min(trail))} to {worsening(max(trail))}; now {worsening(trail[-1])}"
    return Sparkline("M" + "L".join(points), f"M0 {up.at(0.0):.1f}H{WIDTH}", said)


def _allowed(metric: MetricVerdict, centre: float) -> float | None:
    limit = centre * (1 + metric.margin) if metric.better is Better.LOWER else centre / (1 + metric.margin)
    return limit if math.isfinite(limit) else None


def _dots(axis: Axis, values: Sequence[float], y: int) -> str:
    return "".join(f"M{axis.at(value):.0f} {y}h0" for value in values)


def _said(
    metric: MetricVerdict, now: Sequence[float], again: Sequence[float], before: Sequence[float]
) -> Iterator[str]:
    for name, values in (("now", now), ("baseline again", again), ("stored", before)):
        if values:
            low, high = (quantity(pick(values), metric.unit, like=now[0], brief=True) for pick in (min, max))
            yield f"{name} {low} to {high} in {len(values)}" if low != high else f"{name} {low}"
