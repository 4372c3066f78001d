"""What to do with a technique: the standing that its evidence and its cost in quality give it, and the order of a list.

A technique is taken only where a figure that decides is shown to be better, none is shown to be worse, and its loss of
perplexity is shown to be within what is allowed; what may change the output and was never scored is not shown. Where
the loss exceeds what is allowed, more rounds for its speed would be for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from perfgate.advising.evidence import Evidence, Finding
from perfgate.advising.quality import Cost, Quality

_LEAST = 1e-300  # of a ratio that has a logarithm


class Standing(StrEnum):
    """What to do with a technique, the best first."""

    TAKE = "take"
    NOT_WITHOUT = "not without accepting a loss"
    DEPENDS = "depends on the load"
    MORE = "measure more"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Line:
    """A technique and what became of it.

    decides: evidence of the goal's own figures; beside: of others, at 95 % each. gain: the geometric mean of `times`
    over what decides. next: what would settle it, empty where it is settled.
    """

    engine: str
    reference: str
    technique: str
    standing: Standing
    reason: str
    gain: float
    decides: tuple[Evidence, ...]
    beside: tuple[Evidence, ...]
    quality: Quality
    next: str = ""


def standing_of(findings: Sequence[Finding], cost: Cost, *, may_cost_quality: bool) -> Standing:
    """Pure and total. findings: of all that decides, at least one."""
    is_better, is_worse = Finding.BETTER in findings, Finding.WORSE in findings
    if cost is Cost.BROKEN or (is_worse and not is_better):
        return Standing.LEAVE
    if not is_better and Finding.UNDECIDED not in findings:
        return Standing.LEAVE
    if cost is Cost.EXCEEDED:
        return Standing.NOT_WITHOUT
    if not is_better:
        return Standing.MORE
    if cost is Cost.UNDECIDED or (cost is Cost.UNMEASURED and may_cost_quality):
        return Standing.MORE
    return Standing.DEPENDS if is_worse else Standing.TAKE


def mean_gain(decides: Sequence[Evidence]) -> float:
    """The geometric mean of times as good."""
    logs = [math.log(min(max(one.times, _LEAST), 1 / _LEAST)) for one in decides]
    return math.exp(sum(logs) / len(logs))


def ranked(lines: Sequence[Line]) -> tuple[Line, ...]:
    """By standing, and among equals by gain."""
    order = list(Standing)
    return tuple(sorted(lines, key=lambda one: (order.index(one.standing), -one.gain)))


def reason_of(standing: Standing, decides: Sequence[Evidence], quality: Quality) -> str:
    """Why it stands there, in a sentence without figures of its own: they stand beside it."""
    better, worse, undecided = (
        [one.case for one in decides if one.finding is finding]
        for finding in (Finding.BETTER, Finding.WORSE, Finding.UNDECIDED)
    )
    gain = f"better in {_cases(better, decides)}" if better else f"not decided in {_cases(undecided, decides)}"
    match standing:
        case Standing.TAKE:
            said = f"{gain}, worse in none"
        case Standing.NOT_WITHOUT:
            said = f"{gain}, and dumber: {quality.reason}"
        case Standing.DEPENDS:
            said = f"{gain}, worse in {_cases(worse, decides)}"
        case Standing.LEAVE if quality.cost is Cost.BROKEN:
            said = f"its output is broken: {quality.reason}"
        case Standing.LEAVE if worse:
            said = f"worse in {_cases(worse, decides)}, better in none"
        case Standing.LEAVE:
            said = "no gain worth having is left open"
        case Standing.MORE if better:
            said = f"{gain}; its quality is {quality.cost}: {quality.reason}"
        case Standing.MORE:
            said = gain
    return said


def next_of(standing: Standing, decides: Sequence[Evidence], quality: Quality) -> str:
    """What would settle what is to be measured more; empty for what is settled."""
    if standing is not Standing.MORE:
        return ""
    if any(one.finding is Finding.BETTER for one in decides):
        return _of_quality(quality)
    return _of_rounds([one for one in decides if one.finding is Finding.UNDECIDED])


def _of_quality(quality: Quality) -> str:
    if quality.cost is Cost.UNDECIDED and quality.more_documents:
        return f"score about {quality.more_documents:,} more documents like these {quality.documents:,}"
    if quality.cost is Cost.UNDECIDED:
        return "score a longer text: no sensible number of documents like these would decide"
    return "score one text by both engines (a workload of kind perplexity)"


def _of_rounds(undecided: Sequence[Evidence]) -> str:
    """The least that decides one figure: a gain in one is what taking asks for."""
    known = [one for one in undecided if one.more_rounds is not None]
    if not known:
        return "no sensible number of rounds would decide at this noise: measure on a quieter machine, in turns"
    first = min(known, key=lambda one: one.more_rounds or 0)
    assumed = f" ({first.note})" if first.note else ""
    total = first.rounds + (first.more_rounds or 0)
    return (
        f"about {first.more_rounds} more rounds a side of {first.case} decide {first.metric}{assumed}: --rounds {total}"
    )


def _cases(some: Sequence[str], every: Sequence[Evidence]) -> str:
    """'all 4 cases', 'a, b', 'a, b, c and 5 more'."""
    cases, whole = list(dict.fromkeys(some)), {one.case for one in every}
    if len(cases) == len(whole) > 1:
        return "both cases" if len(cases) == 2 else f"all {len(cases)} cases"  # noqa: PLR2004
    more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""  # noqa: PLR2004 - enough to see which
    return f"{', '.join(cases[:3])}{more}"
