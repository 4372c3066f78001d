"""Since when something is worse: what signals, sessions and the baseline tell, and no more."""

from __future__ import annotations

from perfgate.comparison import Comparison
from perfgate.metrics import LOSS
from perfgate.report.behind import Behind
from perfgate.report.figures import plain
from perfgate.report.findings import Finding
from perfgate.report.trend import last_good
from perfgate.verdict import MetricVerdict, Verdict
from perfgate.watch import SignalKind


def since(finding: Finding, comparison: Comparison, behind: Behind) -> str:
    """Of a regression's most changed metric: by a signal, else by the sessions before; empty where nothing is known."""
    metrics = [one for one in finding.metrics if one.metric != LOSS] or finding.metrics  # a loss has no baseline
    if finding.verdict is not Verdict.REGRESSED or not metrics:
        return ""
    first, *others = (_of_signal(one, comparison) or _of_sessions(one, comparison, behind) for one in metrics)
    differing = sum(told != first for told in others)
    return plain(f"{first} ({_whose(metrics[0], differing)})" if differing else first)


def _whose(metric: MetricVerdict, differing: int) -> str:
    are = "1 other has" if differing == 1 else f"{differing} others have"
    return f"{metric.case} {metric.metric}; {are} another: `perfgate explain CASE METRIC`"


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
    is_utc = started.endswith(("+00:00", "Z"))
    told = f"{started[:10]} {started[11:16]} UTC" if is_utc else started  # to the minute: a session takes longer
    return f"{told}, commit {commit or 'unknown'}"
