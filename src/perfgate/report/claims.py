"""Claims of the field beside what was measured: as a table, as one line, and as a sentence for a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from perfgate.claim import Check
from perfgate.claim_findings import Finding, Standing, is_failure
from perfgate.report.figures import ABSENT, plain
from perfgate.report.limits import aligned, gathered
from perfgate.report.versus_words import bounds, ratio_digits
from perfgate.suite import ClaimPolicy

TITLE = "Claims of the field"
ABOUT = "Times as good as the reference engine, so that more is better for every metric; intervals are over rounds."
HEADER = ("claim", "check", "engine / reference", "workload", "claimed", "measured", "95 % interval", "verdict")


def rows(found: Sequence[Finding]) -> list[tuple[str, ...]]:
    """A row for each check that was asked, as HEADER names its cells."""
    return [tuple(map(plain, _row(one))) for one in found]


def _row(one: Finding) -> Iterator[str]:
    asked = one.asked
    yield from (asked.claim.name, asked.check.name)
    if asked.case and asked.reference:
        yield from (f"{asked.case.engine.name} / {asked.reference.engine.name}", asked.case.work.name)
    else:
        yield from (ABSENT, ABSENT)
    yield claimed(asked.check)
    yield f"{ratio_digits(one.times.value)}x" if one.times else ABSENT
    has_interval = one.times is not None and one.basis != "exact"
    yield bounds(one.times) if one.times and has_interval else "exact" if one.times else ABSENT
    yield one.standing.value


def claimed(check: Check) -> str:
    """'1.8x to 2.2x' as good as the reference, or '>= 0.971x'."""
    least = f"{ratio_digits(check.least_good)}x"
    return f"{least} to {ratio_digits(check.most)}x" if check.most else f">= {least}"


def notes(found: Sequence[Finding]) -> Iterator[str]:
    """Why checks could not be made, and what to know of those that were; the claims and their sources last."""
    yield from gathered((said, one.asked.id) for one in found for said in (*filter(None, [one.why]), *one.asked.notes))
    for claim in dict.fromkeys(one.asked.claim for one in found if one.times):
        yield plain(f"{claim.name}: {claim.says} [{', '.join(claim.sources)}]")


def text_block(found: Sequence[Finding]) -> list[str]:
    """The section as lines of aligned columns; none where no claim was measured."""
    return whole_block(found) if is_told(found) else []


def whole_block(found: Sequence[Finding]) -> list[str]:
    """The same, also where nothing was measured."""
    head = f"{TITLE.lower()}: times as good as the reference, so that more is better for every metric"
    return [head, *aligned([HEADER, *rows(found)], of_text=(0, 1, 2, 3, 7)), *(f"  {note}" for note in notes(found))]


def one_line(found: Sequence[Finding]) -> str:
    """The whole section in a line; empty where there is nothing to tell."""
    counts = Counter(one.standing for one in found)
    parts = [
        f"{counts[standing]} {_WORDS[standing][counts[standing] > 1]}" for standing in Standing if counts[standing]
    ]
    return f"{TITLE.lower()}: {', '.join(parts)} (summary.txt has each check)" if is_told(found) else ""


_WORDS = {  # of one, of several
    Standing.HOLDS: ("holds", "hold"),
    Standing.PARTLY: ("holds partly", "hold partly"),
    Standing.FAILS: ("does not hold here", "do not hold here"),
    Standing.UNTESTED: ("cannot be tested here", "cannot be tested here"),
}


def is_told(found: Sequence[Finding]) -> bool:
    """Whether anything was measured that a claim is about."""
    return any(one.times for one in found)


def failed(found: Sequence[Finding], policy: ClaimPolicy) -> list[str]:
    """A sentence for each check that makes a gate red."""
    return [sentence(one) for one in found if is_failure(one, policy)]


def sentence(one: Finding) -> str:
    """A finding in a line: 'int4-speed-int4-vs-fp32: partly: tpot_mean 1.23x as good [1.1, 1.4], claimed 3.00x ...'."""
    head = plain(f"{one.asked.id}: {one.standing}")
    if one.times is None:
        return f"{head}: {plain(one.why)}"
    interval = "" if one.basis == "exact" else f" {bounds(one.times)}"
    measured = f"{one.asked.check.metric} {ratio_digits(one.times.value)}x as good as the reference{interval}"
    why = f"; {plain(one.why)}" if one.why else ""
    return f"{head}: {measured}, {one.basis}; claimed {claimed(one.asked.check)}{why}"
