"""The closing table of a gate in the terminal, and summary.txt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.report.behind import NOTHING_BEHIND, Behind
from perfgate.report.figures import WORDS, count, effort, plain
from perfgate.report.findings import Finding, findings, headline, host_bound, not_ok, planted
from perfgate.report.grid import grid
from perfgate.report.page import NARROWEST, Page
from perfgate.report.quality import quality_table
from perfgate.report.since import since
from perfgate.report.watched import MOST_TOLD, watched
from perfgate.verdict import Verdict


def table(comparison: Comparison, *, verbose: bool, width: int, colour: bool, behind: Behind = NOTHING_BEHIND) -> str:
    """The metrics, what is not ok with its reason and the next step, and the counts.

    verbose: every metric; else what is not ok and a count of the others, or every metric where all are ok.
    behind: what tells since when.
    width: columns; lines are shortened or wrapped between words to fit, never inside a number.
    """
    page = Page(max(width, NARROWEST), colour)
    metrics = comparison.metrics if verbose else not_ok(comparison.metrics) or comparison.metrics
    blocks = [
        _warning(comparison, page),
        list(grid(metrics, page)) if metrics else [],
        _fine(comparison, len(metrics)),
        list(quality_table(comparison.quality, page)),
        [line for finding in findings(comparison) for line in _explained(finding, comparison, behind, page)],
        list(_watched(comparison, page)),
        list(_counts(comparison, page)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _warning(comparison: Comparison, page: Page) -> list[str]:
    return [page.painted(line, Verdict.REGRESSED) for line in page.wrapped(planted(comparison), "!!! ", "!!! ")]


def _fine(comparison: Comparison, shown: int) -> list[str]:
    """What the table leaves out: nothing but metrics that are ok."""
    left = len(comparison.metrics) - shown
    return [f"{count(left, 'other metric')} ok (-v shows all)"] if left else []


def _explained(finding: Finding, comparison: Comparison, behind: Behind, page: Page) -> Iterator[str]:
    word = WORDS[finding.verdict]
    first, *more = page.wrapped(f"{word}  {finding.where}", later="  ")
    yield page.painted(word, finding.verdict) + first.removeprefix(word)
    yield from more
    yield from page.wrapped(finding.reason, "  ", "  ")
    yield from page.wrapped(finding.detectable, "  ", "  ")
    if told := since(finding, comparison, behind):
        yield from page.wrapped(f"since: {told}", "  ", "         ")
    yield from page.wrapped(f"next: {finding.next_step}", "  ", "        ")


def _watched(comparison: Comparison, page: Page) -> Iterator[str]:
    seen = watched(comparison)
    for one in seen[:MOST_TOLD]:
        lines = page.wrapped(f"watch: {one.line} ({one.effect})", later="  ")
        yield from (page.painted(line, Verdict.REGRESSED) if one.is_failure else line for line in lines)
    if len(seen) > MOST_TOLD:
        yield f"watch: {count(len(seen) - MOST_TOLD, 'more signal')} in report.html"


def _counts(comparison: Comparison, page: Page) -> Iterator[str]:
    colour = Verdict.REGRESSED if comparison.is_red else comparison.verdict
    for note in comparison.notes:
        yield from page.wrapped(f"note: {plain(note)}", later="  ")
    yield from page.wrapped(host_bound(comparison), later="  ")
    yield from _skips(comparison, page)
    measured = sum(map(_is_measured, comparison.cases))
    spent = effort(comparison.rounds, comparison.seconds)
    yield from page.wrapped(f"measured {measured} of {count(len(comparison.cases), 'case')}; {spent}")
    yield from (page.painted(line, colour) for line in page.wrapped(headline(comparison)))


def _is_measured(case: CaseVerdict) -> bool:
    return any(metric.rounds_candidate for metric in case.metrics)


def _skips(comparison: Comparison, page: Page) -> Iterator[str]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for case in comparison.cases:
        if case.outcome == "skipped":
            reasons[plain(case.case.skip or "no reason was given")].append(plain(case.case.id))
    for reason, cases in reasons.items():
        yield from page.wrapped(f"skipped  {', '.join(cases)}: {reason}", later="  ")
