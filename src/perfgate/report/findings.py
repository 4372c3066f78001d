"""What is not ok in a comparison, grouped by its cause, with what to do next."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.fault_kinds import ADVICE
from perfgate.metrics import LOSS, PAIRED
from perfgate.own_case import OWN
from perfgate.report.figures import WORDS, count, detects, plain
from perfgate.verdict import GRAVITY, MetricVerdict, Verdict

MOST_WORTH = 100  # further rounds a side that anybody would wait for
MOST_NAMED = 3  # cases named in one line; the tables name them all
UNMEASURED = "nothing of this case was measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause: the cases it concerns with their metrics (none where nothing was measured)."""

    verdict: Verdict
    reason: str
    cases: Mapping[str, tuple[MetricVerdict, ...]]
    next_step: str

    @property
    def where(self) -> str:
        """'fp32-chat: ttft_p50, tpot_p50', long lists cut and counted."""
        named = [_named(case, metrics) for case, metrics in list(self.cases.items())[:MOST_NAMED]]
        left = len(self.cases) - len(named)
        return "; ".join([*named, f"and {count(left, 'more case')}"] if left else named)

    @property
    def detectable(self) -> str:
        """The smallest worsening that every metric concerned could have shown; only where undecided."""
        if self.verdict is not Verdict.INCONCLUSIVE:
            return ""
        asked = [metric.detectable for metrics in self.cases.values() for metric in metrics]
        sizes = [size for size in asked if size is not None and math.isfinite(size)]
        if not sizes:
            return ""
        least = detects(max(sizes))
        least = f"more than {least[2:]}" if least.startswith(">") else f"{least} or more"
        return f"a worsening of {least} would have shown"


def findings(comparison: Comparison) -> list[Finding]:
    """Everything that is not ok, gravest first, one entry per verdict and reason."""
    causes: dict[tuple[Verdict, str], dict[str, tuple[MetricVerdict, ...]]] = defaultdict(dict)
    for case in comparison.cases:
        if is_unmeasured(case):
            causes[case.verdict, UNMEASURED][case.case.id] = ()
        for metric in not_ok(case.metrics):
            reason = metric.reason.partition("; odds")[0]  # odds differ from metric to metric
            cases = causes[metric.verdict, f"{reason}; {metric.waived}" if metric.waived else reason]
            cases[metric.case] = (*cases.get(metric.case, ()), metric)
    found = [Finding(verdict, plain(reason), cases, _next(verdict, cases, comparison))
             for (verdict, reason), cases in causes.items()]  # fmt: skip
    return sorted(found, key=lambda one: -GRAVITY[one.verdict])


def accept(comparison: Comparison) -> str:
    """The command that makes this run the baseline, where reports lie in their usual folder."""
    folder = f"perfgate-out/{OWN}" if comparison.suite == OWN else "perfgate-out"
    return f"perfgate baseline accept {folder}/run.json --reason '...'"


def not_ok(metrics: Iterable[MetricVerdict]) -> list[MetricVerdict]:
    """The metrics that are not plainly ok, improved ones included, in order."""
    return [metric for metric in metrics if metric.verdict is not Verdict.OK]


def is_unmeasured(case: CaseVerdict) -> bool:
    """Nothing to judge, although the case was not skipped."""
    return not case.metrics and case.outcome != "skipped"


def headline(comparison: Comparison) -> str:
    """The gate in one line: 'REGRESSED: 1 failed, 9 passed, 2 skipped'."""
    outcomes = comparison.count()
    parts = [f"{outcomes[name]} {plain(name)}" for name in _ordered(outcomes)]
    return f"{verdict_words(comparison)}: {', '.join(parts) or 'no case was asked for'}"


def verdict_words(comparison: Comparison) -> str:
    """The gate's verdict; 'REGRESSED, waived' where every case that is so is waived; 'WATCH FAILED' where it did."""
    gravest = {case.outcome for case in comparison.cases if case.verdict is comparison.verdict}
    waived = ", waived" if gravest - {"skipped"} == {"waived"} else ""
    return (
        WORDS[comparison.verdict]
        + waived
        + (", WATCH FAILED" if comparison.failed_signals else "")
        + (f", RED: {comparison.judged_nothing}" if comparison.cases and comparison.judged_nothing else "")
    )


def host_bound(comparison: Comparison) -> str:
    """The cases whose wall times follow the host, in one line; empty where none is known to."""
    found = [case for case in comparison.cases if case.host_bound]
    if len(found) == 1:
        return f"{plain(found[0].case.id)} {found[0].host_bound}"
    names = [plain(case.case.id) for case in found[:MOST_NAMED]]
    left = len(found) - len(names)
    named = ", ".join(names) + (f" and {count(left, 'more case')}" if left else "")
    return f"{named} wait for the host: their wall times are its, their device times the engine's" if found else ""


def planted(comparison: Comparison) -> str:
    """The warning that a slowdown was planted; empty where none was."""
    shares = ", ".join(f"{plain(name)}={size:g}" for name, size in sorted(comparison.environment.inject.items()))
    return f"A SLOWDOWN WAS PLANTED ({shares}): these verdicts test the gate, not the engine." if shares else ""


def _ordered(outcomes: Mapping[str, int]) -> list[str]:
    known = ["failed", "warned", "waived", "recorded", "passed", "skipped"]
    return [name for name in [*known, *sorted(set(outcomes) - set(known))] if outcomes.get(name)]


def _named(case: str, metrics: tuple[MetricVerdict, ...]) -> str:
    names = ", ".join(plain(metric.metric) for metric in metrics[:MOST_NAMED])
    more = f" and {len(metrics) - MOST_NAMED} more" if len(metrics) > MOST_NAMED else ""
    return f"{plain(case)}: {names}{more}" if metrics else plain(case)


def _next(verdict: Verdict, cases: Mapping[str, tuple[MetricVerdict, ...]], comparison: Comparison) -> str:
    if all(metrics and all(metric.waived for metric in metrics) for metrics in cases.values()):
        return "mend it before the waiver ends: it fails from then on"
    return _next_step(verdict, cases, comparison)


def _next_step(verdict: Verdict, cases: Mapping[str, tuple[MetricVerdict, ...]], comparison: Comparison) -> str:
    match verdict:
        case Verdict.REGRESSED:
            return _mend(cases, comparison)
        case Verdict.BROKEN | Verdict.INVALID:
            return _look(verdict, cases, comparison)
        case Verdict.INCONCLUSIVE:
            return _more_rounds([metric for metrics in cases.values() for metric in metrics])
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


def _look(verdict: Verdict, cases: Mapping[str, tuple[MetricVerdict, ...]], comparison: Comparison) -> str:
    if verdict is Verdict.BROKEN:
        return "look at the engine's weights, scales and precision: whatever its speed, it gives no answers"
    advice = _advice(cases, comparison) or "remove the cause and measure again"
    return f"{advice}; report.html lists the rounds that do not count"


def _advice(cases: Mapping[str, tuple[MetricVerdict, ...]], comparison: Comparison) -> str:
    """What to do about the faults of those cases, each kind once."""
    kinds = [kind for case in comparison.cases if case.case.id in cases for kind in case.faults]
    return "; ".join(ADVICE[kind].next_step for kind in dict.fromkeys(kinds))


def _mend(cases: Mapping[str, tuple[MetricVerdict, ...]], comparison: Comparison) -> str:
    if all(one.metric == LOSS for metrics in cases.values() for one in metrics):
        return "quantise less or calibrate better, or state another allowed loss under the suite's `quality`"
    return f"look at {_commits(comparison)}; if it is meant: {accept(comparison)}"


def _commits(comparison: Comparison) -> str:
    old = comparison.baseline.commit if comparison.baseline else ""
    new = comparison.environment.commit
    return f"what changed between {plain(old)} and {plain(new)}" if old and new and old != new else "what changed"


def _more_rounds(metrics: list[MetricVerdict]) -> str:
    if metrics and all(one.metric in PAIRED for one in metrics):
        return _more_documents(metrics)
    if metrics and all(metric.rounds_candidate == 1 for metric in metrics):
        return "measure more than one round: leave --perfgate-rounds to the suite"
    more = max((metric.more_rounds or 0 for metric in metrics), default=0)
    if more > MOST_WORTH:
        return f"more than {MOST_WORTH} more rounds a side would be needed: a quieter machine, or a larger `detect`"
    if not more:
        return "measure again on a quieter machine, or with more rounds (--perfgate-rounds)"
    total = max(metric.rounds_candidate + (metric.more_rounds or 0) for metric in metrics)
    return f"about {count(more, 'more round')} a side would decide: --perfgate-rounds {total}; or a quieter machine"


def _more_documents(metrics: list[MetricVerdict]) -> str:
    """Texts score alike in every round: only further documents tell more."""
    if any(one.more_documents is None for one in metrics):
        return "the change is too close to its limit for any sensible number of documents: state another limit"
    more = max(one.more_documents or 0 for one in metrics)
    return f"about {count(more, 'more document')} in the text would decide"
