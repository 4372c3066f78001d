"""The closing table of a gate in the terminal, and summary.txt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perfgate.comparison import Comparison
from perfgate.report.behind import NOTHING_BEHIND, Behind
from perfgate.report.figures import ESTIMATOR, WORDS, count, is_estimated, plain
from perfgate.report.findings import Finding, findings, gravest_first, headline, host_bound, next_steps, not_ok, planted
from perfgate.report.grid import grid
from perfgate.report.page import NARROWEST, Page
from perfgate.report.quality import quality_table
from perfgate.report.since import since
from perfgate.report.tally import counted, listed, recorded_lines, tallies
from perfgate.report.watched import MOST_TOLD, watched
from perfgate.verdict import MetricVerdict, Verdict


def table(comparison: Comparison, *, verbose: bool, width: int, colour: bool, behind: Behind = NOTHING_BEHIND) -> str:
    """The metrics, what is not ok with its reason and the next step, and the counts.

    verbose: every metric; else what is not ok and a count of the others, or every metric where all are ok; what was
        recorded in a line a case.
    behind: what tells since when.
    width: columns; lines are shortened or wrapped between words to fit, never inside a number.
    """
    page = Page(max(width, NARROWEST), colour)
    brief = listed(comparison) if not_ok(comparison.metrics) else comparison.metrics
    metrics = comparison.metrics if verbose else brief
    found = findings(comparison)
    told = zip(found, next_steps(found), strict=True)
    blocks = [
        _warning(comparison, page),
        list(grid(gravest_first(metrics), page)) if metrics else [],
        [] if verbose else list(_recorded(comparison, page)),
        _fine(comparison, metrics),
        page.wrapped(ESTIMATOR, later="  ") if any(map(is_estimated, metrics)) else [],
        list(quality_table(comparison.quality, page)),
        [line for one in told for line in _explained(*one, since(one[0], comparison, behind), page)],
        list(_watched(comparison, page)),
        list(_counts(comparison, page)),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _warning(comparison: Comparison, page: Page) -> list[str]:
    return [page.painted(line, Verdict.REGRESSED) for line in page.wrapped(planted(comparison), "!!! ", "!!! ")]


def _recorded(comparison: Comparison, page: Page) -> Iterator[str]:
    for line in recorded_lines(comparison):
        yield from page.wrapped(f"recorded  {line}", later="  ")


def _fine(comparison: Comparison, shown: Sequence[MetricVerdict]) -> list[str]:
    """How many metrics the table leaves out that are ok."""
    left = len(comparison.metrics) - len(not_ok(comparison.metrics)) - sum(one.verdict is Verdict.OK for one in shown)
    return [f"{count(left, 'other metric')} ok (-v shows all)"] if left else []


def _explained(finding: Finding, next_step: str, when: str, page: Page) -> Iterator[str]:
    word = WORDS[finding.verdict]
    first, *more = page.wrapped(f"{word}  {finding.where}", later="  ")
    yield page.painted(word, finding.verdict) + first.removeprefix(word)
    yield from more
    yield from page.wrapped(finding.reason, "  ", "  ")
    yield from page.wrapped(finding.detectable, "  ", "  ")
    if when:
        yield from page.wrapped(f"since: {when}", "  ", "         ")
    yield from page.wrapped(f"next: {next_step}", "  ", "        ")


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
    for one in tallies(comparison):
        yield from page.wrapped(f"{one.word}  {one.names}: {one.why}", later="  ")
    yield from page.wrapped(counted(comparison))
    yield from (page.painted(line, colour) for line in page.wrapped(headline(comparison)))
