"""What to do next about what is not ok."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import assert_never

from perfgate.comparison import Comparison
from perfgate.fault_kinds import ADVICE
from perfgate.metrics import LOSS, PAIRED
from perfgate.own_case import OWN
from perfgate.report.figures import count, plain
from perfgate.verdict import Cause, MetricVerdict, Verdict

MOST_WORTH = 100  # further rounds a side that anybody would wait for
FEW_ROUNDS = 4  # a side, to ask for where one round tells nothing of how many are needed
_SPARE = 1.2  # a budget's share beyond the estimate: the last round must end in it
_MINUTE, _STEP_S = 60, 10
_ALLOW_MORE = "state another allowed loss under the suite's `quality`"
Cases = Mapping[str, tuple[MetricVerdict, ...]]  # by case id; no metric where nothing was measured


def next_step(verdict: Verdict, cases: Cases, comparison: Comparison) -> str:
    """Of one cause, by the metrics of the cases that it concerns."""
    if all(metrics and all(metric.waived for metric in metrics) for metrics in cases.values()):
        return "mend it before the waiver ends: it fails from then on"
    if comparison.environment.inject and verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
        return "nothing: a regression was planted; a run without it judges the engine"
    return _next_step(verdict, cases, comparison)


def _next_step(verdict: Verdict, cases: Cases, comparison: Comparison) -> str:
    match verdict:
        case Verdict.REGRESSED:
            return _mend(cases, comparison)
        case Verdict.BROKEN | Verdict.INVALID:
            return _look(verdict, cases, comparison)
        case Verdict.INCONCLUSIVE:
            return _more_rounds([metric for metrics in cases.values() for metric in metrics], comparison)
        case Verdict.NO_BASELINE:
            return _make_one(comparison)
        case Verdict.IMPROVED:
            return f"keep the gain, or a fall back to the old level passes unseen: {accept(comparison)}"
        case Verdict.OK:
            pass
        case _:
            assert_never(verdict)
    return "nothing"


def _make_one(comparison: Comparison) -> str:
    """How a baseline comes to be."""
    if comparison.stopped:
        return "let the gate end: rounds of one that was stopped are nobody's baseline"
    if comparison.environment.inject:
        return "run once without the planted regression: a planted run never becomes the baseline"
    if any(case.outcome == "recorded" for case in comparison.cases):
        return "run again: these rounds are this machine's baseline now"
    return f"once the figures are trusted: {accept(comparison)}"


def _look(verdict: Verdict, cases: Cases, comparison: Comparison) -> str:
    if verdict is Verdict.BROKEN:
        return "look at the engine's weights, scales and precision: whatever its speed, it gives no answers"
    if any(metric.cause is Cause.SKIPPED for metrics in cases.values() for metric in metrics):
        return "bring back what it needs, or take the case out of the suite"
    if all(metric.cause is Cause.NO_ROUND for metrics in cases.values() for metric in metrics) and any(cases.values()):
        return "give it more time (--perfgate-budget)"
    advice = _advice(cases, comparison) or "remove the cause and measure again"
    return f"{advice}; report.html lists the rounds that do not count"


def _advice(cases: Cases, comparison: Comparison) -> str:
    """What to do about the faults of those cases, each kind once."""
    kinds = [kind for case in comparison.cases if case.case.id in cases for kind in case.faults]
    return "; ".join(ADVICE[kind].next_step for kind in dict.fromkeys(kinds))


def _mend(cases: Cases, comparison: Comparison) -> str:
    are_losses = {one.metric == LOSS for metrics in cases.values() for one in metrics}
    if are_losses == {True}:
        return f"quantise less or calibrate better, or {_ALLOW_MORE}"
    allow = f"; and {_ALLOW_MORE}" if True in are_losses else ""
    return f"look at {_commits(comparison)}; if it is meant: {accept(comparison)}{allow}"


def _commits(comparison: Comparison) -> str:
    old = comparison.baseline.commit if comparison.baseline else ""
    new = comparison.environment.commit
    return f"what changed between {plain(old)} and {plain(new)}" if old and new and old != new else "what changed"


def _more_rounds(metrics: list[MetricVerdict], comparison: Comparison) -> str:
    if metrics and all(one.metric in PAIRED for one in metrics):
        return _more_documents(metrics)
    if metrics and all(metric.rounds_candidate == 1 for metric in metrics):
        return _more_than_one(comparison)
    more = max((metric.more_rounds or 0 for metric in metrics), default=0)
    if more > MOST_WORTH:
        return f"more than {MOST_WORTH} more rounds a side would be needed: a quieter machine, or a larger `detect`"
    if not more:
        return "measure again on a quieter machine, or with more rounds (--perfgate-rounds)"
    total = max(metric.rounds_candidate + (metric.more_rounds or 0) for metric in metrics)
    asked = f"--perfgate-rounds {total}"
    if comparison.out_of_time_s is not None:
        asked = f"{asked} --perfgate-budget {_time_for(total, comparison)}"
    return f"about {count(more, 'more round')} a side would decide: {asked}; or a quieter machine"


def _more_than_one(comparison: Comparison) -> str:
    if comparison.out_of_time_s is None:
        return "measure more than one round: leave --perfgate-rounds to the suite"
    budget = _time_for(FEW_ROUNDS, comparison)
    return f"the budget ended it after one round: --perfgate-budget {budget}, for about {FEW_ROUNDS} rounds a side"


def _time_for(rounds: int, comparison: Comparison) -> str:
    """A budget for so many rounds of every engine, beside the baseline's where there is one, at the pace so far."""
    engines = {case.case.engine for case in comparison.cases if case.outcome != "skipped"}
    wanted = rounds * len(engines) * (2 if comparison.baseline else 1)
    pace_s = comparison.seconds / max(comparison.rounds, 1)
    seconds = _SPARE * max(wanted * pace_s, comparison.out_of_time_s or 0.0)
    if seconds <= 2 * _MINUTE:
        return f"{math.ceil(seconds / _STEP_S) * _STEP_S}s"
    return f"{math.ceil(seconds / _MINUTE)}min"


def _more_documents(metrics: list[MetricVerdict]) -> str:
    """Texts score alike in every round: only further documents tell more."""
    if any(one.more_documents is None for one in metrics):
        return "the change is too close to its limit for any sensible number of documents: state another limit"
    more = max(one.more_documents or 0 for one in metrics)
    return f"about {count(more, 'more document')} in the text would decide"


def accept(comparison: Comparison) -> str:
    """The command that makes this run the baseline, where reports lie in their usual folder."""
    folder = f"perfgate-out/{OWN}" if comparison.suite == OWN else "perfgate-out"
    return f"perfgate baseline accept {folder}/run.json --reason '...'"
