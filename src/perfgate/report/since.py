"""Since when something is worse: what signals, sessions and the baseline tell, and no more."""

from __future__ import annotations

import math

from perfgate.comparison import Comparison
from perfgate.report.behind import Behind
from perfgate.report.figures import plain
from perfgate.report.findings import Finding
from perfgate.report.trend import last_good
from perfgate.verdict import MetricVerdict, Verdict
from perfgate.watch import SignalKind


def by_size(finding: Finding) -> list[MetricVerdict]:
    """A finding's metrics, the largest change first."""
    return sorted((one for found in finding.cases.values() for one in found), key=_size, reverse=True)


def _size(metric: MetricVerdict) -> float:
    size = abs(metric.change) if metric.change is not None else 0.0
    return size if math.isfinite(size) else 0.0


def since(finding: Finding, comparison: Comparison, behind: Behind) -> str:
    """Of a regression's gravest metric: by a signal, else by the sessions before; empty where nothing is known."""
    metrics = by_size(finding)
    if finding.verdict is not Verdict.REGRESSED or not metrics:
        return ""
    return plain(_of_signal(metrics[0], comparison) or _of_sessions(metrics[0], comparison, behind))


def _of_signal(metric: MetricVerdict, comparison: Comparison) -> str:
    for signal in comparison.signals:
        is_mine = (signal.case, signal.metric) == (metric.case, metric.metric)
        if is_mine and signal.started and signal.size > 0:
            kind = "a step" if signal.kind is SignalKind.CHANGE_POINT else "slow creep"
            between = f", commits {signal.commits}" if signal.commits else ""
            return f"{signal.started}: {kind}{between}{signal.doubt}"
    return ""


def _of_sessions(metric: MetricVerdict, comparison: Comparison, behind: Behind) -> str:
    """One session's level is noise in part: it says that the change came after it, never that it came with the next."""
    now = f"this run, {_when(comparison.started, comparison.environment.commit)}"
    found = last_good(metric, behind.trails.get((metric.case, metric.metric), ()))
    if found is None:
        base = comparison.baseline
        return f"between the baseline of {_when(base.accepted, base.commit)}, and {now}" if base else ""
    good, bad = found
    told = f"between {_when(good.started, good.commit)}, which was within the margin, and {now}"
    return f"{told}; {_when(bad.started, bad.commit)}, was beyond it, which may be noise" if bad else told


def _when(started: str, commit: str) -> str:
    return f"{started}, commit {commit or 'unknown'}"
