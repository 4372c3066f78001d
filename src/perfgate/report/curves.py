"""Latency against throughput over concurrency, for cases that differ in their concurrency only."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, Run, Side
from perfgate.report.axis import Axis, Tick, short
from perfgate.report.behind import Behind
from perfgate.report.figures import quantity
from perfgate.report.series import Series

WIDTH, HEIGHT = 400, 210
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 18, 34
_APART = 16  # pixels between two labels
RATES = ("output_tokens_per_s", "requests_per_s")  # across; the first that was measured
LATENCIES = ("ttft_p50", "itl_p50", "tpot_p50", "e2el_p50", "ttft_p10", "itl_p10")  # upwards; the first two measured
_CHARTS = 2  # of a family; one where there are many families
_FEW_FAMILIES = 6
_FEWEST = 2  # concurrencies that make a curve
_ACROSS, _UP = 4, 4  # ticks wanted


@dataclass(frozen=True, slots=True)
class Spot:
    """One concurrency of one side, in pixels."""

    x: int
    y: int
    concurrency: int
    said: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One latency over one rate; spots by growing concurrency."""

    latency: str
    rate: str
    now: tuple[Spot, ...]
    before: tuple[Spot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def labels(self) -> list[Spot]:
        """The spots whose concurrency can be written without covering another's."""
        kept: list[Spot] = []
        for spot in reversed(self.now):
            if all(abs(spot.x - one.x) + abs(spot.y - one.y) >= _APART for one in kept):
                kept.append(spot)
        return kept

    @property
    def table(self) -> list[tuple[int, str, str]]:
        """(concurrency, baseline, now) in words."""
        old = {spot.concurrency: spot.said for spot in self.before}
        return [(spot.concurrency, old.get(spot.concurrency, "-"), spot.said) for spot in self.now]


@dataclass(frozen=True, slots=True)
class Curve:
    """The charts of one family of cases."""

    title: str
    charts: tuple[Chart, ...]


Values = Mapping[Series, Sequence[float]]


def curves(run: Run, values: Values, behind: Behind) -> list[Curve]:
    """One for each family with at least two concurrencies measured."""
    families: dict[str, list[CaseInfo]] = defaultdict(list)
    for case in run.cases:
        if case.family is not None and case.concurrency is not None and case.skip is None:
            families[case.family].append(case)
    several = [cases for cases in families.values() if _is_several(cases)]
    most = _CHARTS if len(several) <= _FEW_FAMILIES else 1
    made = (_curve(cases, values, behind, most) for cases in several)
    return [one for one in made if one.charts]


def _is_several(cases: Sequence[CaseInfo]) -> bool:
    return len({case.concurrency for case in cases}) >= _FEWEST


def _curve(cases: Sequence[CaseInfo], values: Values, behind: Behind, most: int) -> Curve:
    ordered = sorted(cases, key=lambda case: case.concurrency or 0)
    title = f"{ordered[0].id} to {ordered[-1].id}"
    return Curve(title, tuple(islice(_charts(ordered, values, behind), most)))


def _charts(cases: Sequence[CaseInfo], values: Values, behind: Behind) -> Iterator[Chart]:
    for latency in LATENCIES:
        for rate in RATES:
            points = [
                _points(cases, rate, latency, partial(_level, values, behind, side))
                for side in (Side.CANDIDATE, Side.BASELINE)
            ]
            if len(points[0]) >= _FEWEST:
                yield _chart(latency, rate, *points)
                break


def _level(values: Values, behind: Behind, side: Side, case: str, metric: str) -> float | None:
    """Median over rounds; of the baseline, run again where it was, else as it is stored."""
    found = values.get(Series(case, metric, side), ())
    if not found and side is Side.BASELINE:
        found = behind.stored.get((case, metric), ())
    level = statistics.median(found) if found else math.nan
    return level if 0 < level < math.inf else None


Point = tuple[int, float, float]  # concurrency, rate, latency
Level = Callable[[str, str], float | None]  # of a case and a metric


def _points(cases: Sequence[CaseInfo], rate: str, latency: str, level: Level) -> list[Point]:
    found = [(case.concurrency or 0, level(case.id, rate), level(case.id, latency)) for case in cases]
    return [(concurrency, x, y) for concurrency, x, y in found if x is not None and y is not None]


def _chart(latency: str, rate: str, now: Sequence[Point], before: Sequence[Point]) -> Chart:
    both = [*now, *before]
    across = Axis(0.0, max(x for _, x, _ in both), LEFT, WIDTH - RIGHT)
    up = Axis(0.0, max(y for _, _, y in both), HEIGHT - BOTTOM, TOP)
    units = CATALOGUE[rate].unit, CATALOGUE[latency].unit
    return Chart(
        latency, rate, _spots(now, across, up, units), _spots(before, across, up, units),
        tuple(Tick(round(across.at(x)), short(quantity(x, ""))) for x in across.ticks(_ACROSS)),
        tuple(Tick(round(up.at(y)), short(quantity(y, units[1], like=up.high))) for y in up.ticks(_UP)),
    )  # fmt: skip


def _spots(points: Sequence[Point], across: Axis, up: Axis, units: tuple[str, str]) -> tuple[Spot, ...]:
    return tuple(
        Spot(round(across.at(x)), round(up.at(y)), concurrency, f"{quantity(y, units[1])} at {quantity(x, units[0])}")
        for concurrency, x, y in points
    )
