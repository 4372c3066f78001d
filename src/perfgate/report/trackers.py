"""Figures of a run for trackers of benchmarks over time: github-action-benchmark and Bencher.

Only what was measured validly: a tracker must not take a broken engine's speed for its new level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfgate.comparison import Comparison
from perfgate.metrics import Better
from perfgate.record import Run, Side, encode_pretty
from perfgate.report.figures import plain
from perfgate.report.series import Series, series_of
from perfgate.verdict import MetricVerdict, Verdict

MOST_NAME = 1024  # characters of a benchmark's name that Bencher takes
MOST_MEASURE = 64


@dataclass(frozen=True, slots=True)
class Point:
    """A metric with the lowest and the highest of its rounds, in its unit."""

    metric: MetricVerdict
    value: float
    low: float
    high: float


def github_benchmark(run: Run, comparison: Comparison, better: Better) -> bytes:
    """What `customSmallerIsBetter` (Better.LOWER) or `customBiggerIsBetter` takes: medians over rounds."""
    rows = [
        {
            "name": plain(f"{comparison.suite}/{one.metric.case} {one.metric.metric}"),
            "unit": plain(one.metric.unit),
            "value": one.value,
            "range": f"{one.low:.6g} to {one.high:.6g}",
            "extra": plain(
                f"{one.metric.verdict} ({one.metric.rounds_candidate} rounds) on {comparison.environment.device}"
            ),
        }
        for one in points(run, comparison)
        if one.metric.better is better
    ]
    return encode_pretty(rows)


def bencher(run: Run, comparison: Comparison) -> bytes:
    """Bencher Metric Format: benchmark (suite and case) -> measure (metric) -> median, lowest and highest round."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one in points(run, comparison):
        measures = found.setdefault(plain(f"{comparison.suite}/{one.metric.case}")[:MOST_NAME], {})
        values = {"value": one.value, "lower_value": one.low, "upper_value": one.high}
        measures[plain(one.metric.metric)[:MOST_MEASURE]] = values
    return encode_pretty(found)


def points(run: Run, comparison: Comparison) -> Iterator[Point]:
    """Every gated metric that was measured validly, in the order of the comparison."""
    series = series_of(run)
    for one in comparison.metrics:
        rounds = series.get(Series(one.case, one.metric, Side.CANDIDATE), ())
        if one.verdict not in {Verdict.BROKEN, Verdict.INVALID} and _is_number(one.candidate):
            yield _point(one, [value for value in rounds if math.isfinite(value)])


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _point(one: MetricVerdict, rounds: Sequence[float]) -> Point:
    assert one.candidate is not None
    return Point(one, one.candidate, min(rounds, default=one.candidate), max(rounds, default=one.candidate))
