"""What a reader must know at once of each finding: what, by how much, how sure, since when, and what to type next."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from perfgate.comparison import Comparison
from perfgate.report.behind import Behind
from perfgate.report.figures import count, share
from perfgate.report.findings import AS_ABOVE, Finding, findings, next_steps
from perfgate.report.since import since
from perfgate.verdict import MetricVerdict, Verdict

MOST_LINES = 5  # metrics of one finding that are shown with their numbers
_COMMIT = re.compile(r"[0-9a-f]{4,64}")
_OPTION = r"--perfgate-[\w-]+(?: (?:\d+(?:\.\d+)?[a-z]*|[A-Z]{2,})\b)?"  # a value: 8, 90s, TIME; never a next word
_COMMAND = re.compile(rf"(`[^`]+`|perfgate \w[^;`]*|{_OPTION}(?: {_OPTION})*)")
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
    found = findings(comparison)
    return [_answer(one, step, comparison, behind) for one, step in zip(found, next_steps(found), strict=True)]


def parts(text: str) -> tuple[Part, ...]:
    """A sentence with its commands told apart."""
    pieces = [piece for piece in _COMMAND.split(text) if piece]
    return tuple(Part(piece.strip("`"), bool(_COMMAND.fullmatch(piece))) for piece in pieces)


def _answer(finding: Finding, next_step: str, comparison: Comparison, behind: Behind) -> Answer:
    metrics = finding.metrics
    first = metrics[0] if metrics else None
    is_change = finding.verdict in (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    return Answer(
        finding,
        tuple(metrics[:MOST_LINES]) if is_change else (),
        max(len(metrics) - MOST_LINES, 0) if is_change else 0,
        parts(finding.reason),
        _sure(first) if first and is_change else "",
        since(finding, comparison, behind),
        parts(next_step),
        () if next_step == AS_ABOVE else tuple(_commands(finding, comparison)),
    )


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


def _commands(finding: Finding, comparison: Comparison) -> Iterator[str]:
    """Commands that find the cause, of values that cannot mean anything else to a shell."""
    if finding.verdict is not Verdict.REGRESSED or comparison.baseline is None:
        return
    old, new = comparison.baseline.commit, comparison.environment.commit
    if _COMMIT.fullmatch(old) and _COMMIT.fullmatch(new) and old != new:
        yield f"git log --oneline {old}..{new}"
        yield f"perfgate ab @commit:{old} @commit:{new}"
