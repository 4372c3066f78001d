"""Latencies in summary, where a request that failed is infinitely late and never improves a percentile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

_NS = 1e9


@dataclass(frozen=True, slots=True)
class Spread:
    """A latency over a run, in seconds.

    count: samples that came; failed: samples that are infinitely late, one for each failed request.
    mean_s, sd_s and min_s are of those that came: read them beside `failed`. Percentiles and max_s are over all;
    None: infinite, or nothing was measured. sd_s is that of the samples (n, not n - 1), as numpy.std gives it.
    """

    count: int
    failed: int
    mean_s: float | None
    sd_s: float | None
    min_s: float | None
    p50_s: float | None
    p90_s: float | None
    p95_s: float | None
    p99_s: float | None
    max_s: float | None


def spread(samples_ns: Iterable[float], failed: int = 0) -> Spread:
    """Summarise samples in ns, and so many failed ones beside them."""
    ordered = sorted(samples_ns)
    share = [percentile(ordered, failed, at) for at in (50, 90, 95, 99, 100)]
    seconds = [None if one is None else one / _NS for one in share]
    if not ordered:
        return Spread(0, failed, None, None, None, *seconds)
    mean = fmean(ordered)
    sd = math.sqrt(fmean([(one - mean) ** 2 for one in ordered]))  # statistics.pstdev is exact, and ten times slower
    return Spread(len(ordered), failed, mean / _NS, sd / _NS, ordered[0] / _NS, *seconds)


def percentile(ordered: Sequence[float], failed: int, percent: float) -> float | None:
    """A percentile over ascending samples with `failed` infinite ones behind them; None where it is infinite.

    Linear between neighbours, as numpy.percentile: position (n - 1) * percent / 100.
    """
    count = len(ordered) + failed
    if not count:
        return None
    position = (count - 1) * percent / 100
    low = math.floor(position)
    high = low if position == low else low + 1
    if high >= len(ordered):
        return None
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
