"""What a reader must know at once of each finding: what, by how much, how sure, since when, and what to type next."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from perfgate.comparison import Comparison
from perfgate.report.behind import Behind
from perfgate.report.figures import count, plain, share
from perfgate.report.findings import Finding, findings
from perfgate.report.trend import last_good
from perfgate.verdict import MetricVerdict, Verdict
from perfgate.watch import SignalKind

MOST_LINES = 5  # metrics of one finding that are shown with their numbers
_COMMIT = re.compile(r"[0-9a-f]{4,64}")
_COMMAND = re.compile(r"(`[^`]+`|perfgate \w[^;`]*|--perfgate-[\w-]+ [\w.]+)")
_MOST_ODDS = 1e9


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence; a command is shown so that it can be copied."""

    text: str
    is_command: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One finding. worst: its metrics, the largest worsening first."""

    finding: Finding
    worst: tuple[MetricVerdict, ...]
    more: int  # metrics that are not among the worst
    reason: tuple[Part, ...]
    sure: str
    since: str
    next: tuple[Part, ...]
    commands: tuple[str, ...]


def answers(comparison: Comparison, behind: Behind) -> list[Answer]:
    """One for every finding, gravest first."""
    return [_answer(one, comparison, behind) for one in findings(comparison)]


def parts(text: str) -> tuple[Part, ...]:
    """A sentence with its commands told apart."""
    pieces = [piece for piece in _COMMAND.split(text) if piece]
    return tuple(Part(piece.strip("`"), bool(_COMMAND.fullmatch(piece))) for piece in pieces)


def _answer(finding: Finding, comparison: Comparison, behind: Behind) -> Answer:
    metrics = sorted((one for found in finding.cases.values() for one in found), key=_size, reverse=True)
    first = metrics[0] if metrics else None
    is_change = finding.verdict in (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    return Answer(
        finding,
        tuple(metrics[:MOST_LINES]) if is_change else (),
        max(len(metrics) - MOST_LINES, 0) if is_change else 0,
        parts(finding.reason),
        _sure(first) if first and is_change else "",
        _since(first, comparison, behind) if first and finding.verdict is Verdict.REGRESSED else "",
        parts(finding.next_step),
        tuple(_commands(finding, comparison)),
    )


def _size(metric: MetricVerdict) -> float:
    size = abs(metric.change) if metric.change is not None else 0.0
    return size if math.isfinite(size) else 0.0


def _sure(metric: MetricVerdict) -> str:
    """What the numbers of the worst metric rest on."""
    told = []
    if metric.verdict is Verdict.REGRESSED and metric.evidence is not None and metric.needed_evidence is not None:
        told.append(
            f"evidence {_odds(metric.evidence)} to 1 for worse than the {share(metric.margin)} margin, "
            f"{_odds(metric.needed_evidence)} is needed"
        )
    beside = f"{metric.rounds_baseline} of the baseline beside" if metric.rounds_baseline else ""
    stored = f"{metric.rounds_stored} stored" if metric.rounds_stored else ""
    against = " and ".join(one for one in (beside, stored) if one)
    rounds = count(metric.rounds_candidate, "round")
    told.append(f"{rounds} against {against}" if against else rounds)
    return "; ".join(told)


def _odds(value: float) -> str:
    if not math.isfinite(value) or value >= _MOST_ODDS:
        return "over a billion"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004 - two digits in any case


def _since(metric: MetricVerdict, comparison: Comparison, behind: Behind) -> str:
    """From a signal of this metric, else from the trail, else from the baseline alone."""
    for signal in comparison.signals:
        is_mine = (signal.case, signal.metric) == (metric.case, metric.metric)
        if is_mine and signal.started and signal.size > 0:
            kind = "a step" if signal.kind is SignalKind.CHANGE_POINT else "slow creep"
            between = f", commits {signal.commits}" if signal.commits else ""
            return plain(f"{signal.started}: {kind}{between}{signal.doubt}")
    found = last_good(metric, behind.trails.get((metric.case, metric.metric), ()))
    now = f"this run, {comparison.started}, commit {comparison.environment.commit or 'unknown'}"
    if found:
        good, bad = found
        first_bad = f"{bad.started}, commit {bad.commit or 'unknown'}" if bad else now
        return plain(f"{first_bad}; last within the margin: {good.started}, commit {good.commit or 'unknown'}")
    if comparison.baseline is None:
        return ""
    base = comparison.baseline
    return plain(f"some time after the baseline of {base.accepted}, commit {base.commit or 'unknown'}; now {now}")


def _commands(finding: Finding, comparison: Comparison) -> Iterator[str]:
    """Commands that find the cause, of values that cannot mean anything else to a shell."""
    if finding.verdict is not Verdict.REGRESSED or comparison.baseline is None:
        return
    old, new = comparison.baseline.commit, comparison.environment.commit
    if _COMMIT.fullmatch(old) and _COMMIT.fullmatch(new) and old != new:
        yield f"git log --oneline {old}..{new}"
        yield f"perfgate ab @commit:{old} @commit:{new}"
