"""What is not ok in a comparison, grouped by its cause, with what to do next."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.metrics import LOSS, PAIRED
from perfgate.report.figures import WORDS, count, detects, plain
from perfgate.report.next_step import next_step
from perfgate.verdict import GRAVITY, Cause, MetricVerdict, Verdict

MOST_NAMED = 3  # cases named in one line; the tables name them all
AS_ABOVE = "as above"
UNMEASURED = "nothing of this case was measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause: the cases it concerns with their metrics (none where nothing was measured).

    reason: that of the most changed metric, by name where those of others have other figures.
    """

    verdict: Verdict
    reason: str
    cases: Mapping[str, tuple[MetricVerdict, ...]]
    next_step: str

    @property
    def metrics(self) -> list[MetricVerdict]:
        """All of them, the largest change first."""
        return _by_size(self.cases)

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
        asked = [metric.detectable for metric in self.metrics]
        sizes = [size for size in asked if size is not None and math.isfinite(size)]
        if not sizes:
            return ""
        least = detects(max(sizes))
        least = f"more than {least[2:]}" if least.startswith(">") else f"{least} or more"
        return f"a worsening of {least} would have shown"


def findings(comparison: Comparison) -> list[Finding]:
    """Everything that is not ok, gravest first, one entry per verdict and cause."""
    causes: dict[tuple[Verdict, Hashable], dict[str, tuple[MetricVerdict, ...]]] = defaultdict(dict)
    for case in comparison.cases:
        if is_unmeasured(case):
            causes[case.verdict, UNMEASURED][case.case.id] = ()
        for metric in not_ok(case.metrics):
            cases = causes[metric.verdict, _cause(metric, case)]
            cases[metric.case] = (*cases.get(metric.case, ()), metric)
    found = [
        Finding(verdict, plain(_reason(cases)), cases, next_step(verdict, cases, comparison))
        for (verdict, _), cases in causes.items()
    ]
    return sorted(found, key=lambda one: -GRAVITY[one.verdict])


def _cause(metric: MetricVerdict, of: CaseVerdict) -> Hashable:
    """What metrics of one finding share: the kind of cause, never its figures, and the waiver."""
    if (text := _text_of(metric, of)) is not None:
        return _cause(text, of)
    match metric.cause:
        case None:
            return _said(metric), metric.waived
        case Cause.ROUNDS_FAILED:  # for one kind of fault there is one thing to do
            return metric.cause, tuple(of.faults) or metric.reason, metric.waived
        case _:
            return metric.cause, metric.waived


def _text_of(metric: MetricVerdict, of: CaseVerdict) -> MetricVerdict | None:
    """The metric whose very scores a loss was judged by, where it came to the same: one text has one cause."""
    if metric.metric != LOSS:
        return None
    asked = (metric.verdict, metric.waived)
    texts = (one for one in of.metrics if one.metric in PAIRED and one.metric != LOSS)
    return next((one for one in texts if (one.verdict, one.waived) == asked), None)


def _reason(cases: Mapping[str, tuple[MetricVerdict, ...]]) -> str:
    metrics = _by_size(cases)
    if not metrics:
        return UNMEASURED
    waived = f"; {metrics[0].waived}" if metrics[0].waived else ""
    losses = [one for one in metrics if one.metric == LOSS]
    others = [one for one in metrics if one.metric != LOSS]
    if losses and others and not {_said(one) for one in losses} <= {_said(one) for one in others}:
        return f"{_alike(others)}; {losses[0].case} {LOSS}: {_said(losses[0])}{waived}"
    return _alike(metrics) + waived


def _alike(metrics: Sequence[MetricVerdict]) -> str:
    first = metrics[0]
    if len({_said(metric) for metric in metrics}) == 1:
        return _said(first)
    return f"{first.case} {first.metric}: {_said(first)}; the others alike, with figures of their own"


def _by_size(cases: Mapping[str, tuple[MetricVerdict, ...]]) -> list[MetricVerdict]:
    return sorted((one for found in cases.values() for one in found), key=_size, reverse=True)


def _size(metric: MetricVerdict) -> float:
    size = abs(metric.change) if metric.change is not None else 0.0
    return size if math.isfinite(size) else 0.0


def _said(metric: MetricVerdict) -> str:
    return metric.reason.partition("; odds")[0]  # odds differ from metric to metric


def next_steps(found: Sequence[Finding]) -> list[str]:
    """What to do next about each; where an earlier one said so already: 'as above'."""
    steps = [one.next_step for one in found]
    return [AS_ABOVE if step in steps[:place] else step for place, step in enumerate(steps)]


def not_ok(metrics: Iterable[MetricVerdict]) -> list[MetricVerdict]:
    """The metrics that are not plainly ok, improved ones included, in order."""
    return [metric for metric in metrics if metric.verdict is not Verdict.OK]


def gravest_first(metrics: Iterable[MetricVerdict]) -> list[MetricVerdict]:
    """The same with the gravest verdicts on top, in order otherwise."""
    return sorted(metrics, key=lambda one: -GRAVITY[one.verdict])


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
