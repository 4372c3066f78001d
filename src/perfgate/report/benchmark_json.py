"""benchmark.json: every metric in seconds as pytest-benchmark would have stored it, for its readers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from perfgate.comparison import Comparison
from perfgate.metrics import Unit
from perfgate.record import Environment, Run, Side
from perfgate.report.figures import plain
from perfgate.report.series import Series, series_of
from perfgate.verdict import MetricVerdict

FORMAT_VERSION = "5.3.1"  # the pytest-benchmark whose files these are like
_SHORTEST_S, _LONGEST_S = 1e-12, 1e12  # outside lies no duration, but NaN, infinity and overflow of the statistics


def benchmarks(run: Run, comparison: Comparison) -> dict[str, object]:
    """The document; a metric without one round that gave a possible duration has no entry."""
    series = series_of(run)
    found = [
        _benchmark(comparison.suite, metric, series.get(Series(metric.case, metric.metric, Side.CANDIDATE), []))
        for metric in comparison.metrics
        if metric.unit == Unit.SECONDS
    ]
    return {
        "machine_info": _machine_info(run.environment),
        "commit_info": _commit_info(run),
        "benchmarks": [one for one in found if one is not None],
        "datetime": run.started,
        "version": FORMAT_VERSION,
    }


def _benchmark(suite: str, metric: MetricVerdict, values: Sequence[float]) -> dict[str, object] | None:
    data = [value for value in values if _SHORTEST_S < value < _LONGEST_S]
    if not data:
        return None
    case, what = plain(metric.case), plain(metric.metric)
    return {
        "group": what,
        "name": f"{case}[{what}]",
        "fullname": f"{plain(suite)}::{case}[{what}]",
        "params": {"case": case, "metric": what},
        "param": what,
        "extra_info": {"verdict": metric.verdict, "rounds_left_out": len(values) - len(data)},
        "options": {},
        "stats": _stats(data),
    }


def _stats(data: Sequence[float]) -> dict[str, object]:
    """The fields of pytest_benchmark.stats.Stats, by its definitions; one value is one round of one iteration."""
    ordered = sorted(data)
    mean, spread = statistics.fmean(data), statistics.stdev(data) if len(data) > 1 else 0.0
    q1, q3 = _quartiles(ordered)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(not mean - spread <= value <= mean + spread for value in data)
    outside = sum(not low <= value <= high for value in data)
    return {
        "min": ordered[0], "max": ordered[-1], "mean": mean, "stddev": spread,
        "rounds": len(data), "median": statistics.median(data), "iqr": q3 - q1, "q1": q1, "q3": q3,
        "iqr_outliers": outside, "stddev_outliers": far, "outliers": f"{far};{outside}",
        "ld15iqr": next(value for value in ordered if value >= low),
        "hd15iqr": next(value for value in reversed(ordered) if value <= high),
        "ops": 1.0 / mean, "total": math.fsum(data), "data": list(data), "iterations": 1,
    }  # fmt: skip


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile as pytest-benchmark has them: Wikipedia's method 2 for even counts, 3 for odd ones."""
    n, rest = divmod(len(ordered), 4)
    if len(ordered) == 1:
        return ordered[0], ordered[0]
    if rest == 1:
        pair = (ordered[n - 1], ordered[n]), (ordered[3 * n], ordered[3 * n + 1])
        return 0.25 * pair[0][0] + 0.75 * pair[0][1], 0.75 * pair[1][0] + 0.25 * pair[1][1]
    if rest % 2 == 0:
        half = len(ordered) // 2
        return statistics.median(ordered[:half]), statistics.median(ordered[half:])
    pair = (ordered[n], ordered[n + 1]), (ordered[3 * n + 1], ordered[3 * n + 2])
    return 0.75 * pair[0][0] + 0.25 * pair[0][1], 0.25 * pair[1][0] + 0.75 * pair[1][1]


def _machine_info(environment: Environment) -> Mapping[str, object]:
    """Of the machine that measured, which need not be the one that writes the report."""
    return {
        "node": environment.product,
        "processor": environment.product,
        "machine": environment.device,
        "system": environment.versions.get("os", ""),
        "release": environment.versions.get("kernel", ""),
        "python_version": environment.versions.get("python", ""),
        "cpu": {"brand_raw": environment.product},
        "versions": dict(environment.versions),
        **({"more": dict(environment.machine)} if environment.machine else {}),
    }


def _commit_info(run: Run) -> Mapping[str, object]:
    commit = run.environment.commit
    return {
        "id": commit,
        "time": None,
        "author_time": None,
        "dirty": commit.endswith(("-dirty", "+")),
        "project": run.suite,
        "branch": "(unknown)",
    }
