"""How much was measured, and by name what was skipped or does not count, with why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.report.figures import count, effort, plain, quantity
from perfgate.report.findings import MOST_NAMED, UNMEASURED, not_ok
from perfgate.verdict import MetricVerdict, Verdict

MOST_REASONS = 5  # lines on what does not count; report.html lists all of it


@dataclass(frozen=True, slots=True)
class Tally:
    """Cases or rounds of one reason. names: 'a, b, c and 4 more'."""

    word: str  # "invalid" or "skipped"
    names: str
    why: str


def counted(comparison: Comparison) -> str:
    """'measured 4 of 6 cases, 1 invalid, 1 skipped; 24 rounds, 1 invalid, 3 min 12 s'."""
    cases = comparison.cases
    measured = sum(map(_is_measured, cases))
    parts = [f"measured {measured} of {count(len(cases), 'case')}"]
    for word, number in (("invalid", sum(map(_is_invalid, cases))), ("skipped", comparison.count().get("skipped", 0))):
        parts += [f"{number:,} {word}"] if number else []
    return f"{', '.join(parts)}; {spent(comparison)}"


def spent(comparison: Comparison) -> str:
    """'24 rounds, 1 invalid, 3 min 12 s'."""
    lost = len({(one.engine, one.side, one.index) for one in comparison.uncounted})
    rounds, comma, time = effort(comparison.rounds, comparison.seconds).partition(", ")
    return f"{rounds}, {lost:,} invalid{comma}{time}" if lost else f"{rounds}{comma}{time}"


def recorded(comparison: Comparison) -> Mapping[str, Sequence[MetricVerdict]]:
    """By case, the metrics that had no baseline and are one now: there is nothing to tell of each."""
    cases = (case for case in comparison.cases if case.outcome == "recorded")
    return {case.case.id: [one for one in case.metrics if one.verdict is Verdict.NO_BASELINE] for case in cases}


def recorded_lines(comparison: Comparison) -> Iterator[str]:
    """'int8-b1: ttft_p50 12.48 ms, tpot_p50 4.010 ms, build_s 1.200 s and 9 more', a line a case."""
    for case, metrics in recorded(comparison).items():
        shown = [f"{plain(one.metric)} {quantity(one.candidate, one.unit)}" for one in metrics]
        yield f"{plain(case)}: {_named(shown)}"


def listed(comparison: Comparison) -> list[MetricVerdict]:
    """The metrics that are not ok and have something to tell of each."""
    known = {(one.case, one.metric) for metrics in recorded(comparison).values() for one in metrics}
    return [one for one in not_ok(comparison.metrics) if (one.case, one.metric) not in known]


def tallies(comparison: Comparison) -> Iterator[Tally]:
    """What was not measured, or does not count: invalid cases and rounds, then skipped cases, by reason."""
    invalid = list(_invalid(comparison))
    yield from invalid[:MOST_REASONS]
    if len(invalid) > MOST_REASONS:
        yield Tally("invalid", "more", f"for {count(len(invalid) - MOST_REASONS, 'other reason')}, see report.html")
    skipped: dict[str, list[str]] = defaultdict(list)
    for case in comparison.cases:
        if case.outcome == "skipped":
            skipped[plain(case.case.skip or "no reason was given")].append(plain(case.case.id))
    for why, names in skipped.items():
        yield Tally("skipped", ", ".join(names), why)


def _invalid(comparison: Comparison) -> Iterator[Tally]:
    """Cases and rounds that failed alike stand in one line; figures in the reason are the first one's."""
    whys: dict[Hashable, str] = {}
    names: dict[Hashable, list[str]] = defaultdict(list)
    for case in filter(_is_invalid, comparison.cases):
        why = next((one.reason for one in case.metrics if one.verdict is Verdict.INVALID), UNMEASURED)
        _add(whys, names, next(iter(case.faults), why), case.case.id, why)
    for one in comparison.uncounted:
        _add(whys, names, one.kind or one.why, one.name, one.why)
    for key, found in names.items():
        yield Tally("invalid", _named(found), whys[key])


def _add(
    whys: dict[Hashable, str], names: dict[Hashable, list[str]], key: Hashable, name: str, why: str
) -> None:  # fmt: skip
    whys.setdefault(key, plain(why))
    names[key].append(plain(name))


def _named(names: list[str]) -> str:
    left = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {left:,} more" if left > 0 else "")


def _is_measured(case: CaseVerdict) -> bool:
    return any(metric.rounds_candidate for metric in case.metrics)


def _is_invalid(case: CaseVerdict) -> bool:
    return case.outcome != "skipped" and case.verdict is Verdict.INVALID
