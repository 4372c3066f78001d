"""claims.csv: one row per check of a claim of the field, as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from perfgate.claim_findings import Finding
from perfgate.comparison import Comparison
from perfgate.report.csv import cell, number

COLUMNS = (
    "suite", "device", "claim", "check", "metric", "engine", "reference", "workload", "times", "low", "high",
    "claimed_least", "claimed_most", "basis", "standing", "why",
)  # fmt: skip


def render_claims(comparison: Comparison, found: Sequence[Finding]) -> str:
    """times, low, high and claimed_*: how many times as good as the reference; an empty cell where not known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        writer.writerow([*map(cell, (comparison.suite, comparison.environment.device)), *_row(one)])
    return out.getvalue()


def _row(one: Finding) -> Iterator[str]:
    asked, times = one.asked, one.times
    yield from map(cell, (asked.claim.name, asked.check.name, asked.check.metric))
    yield from (cell(case.engine.name) if case else "" for case in (asked.case, asked.reference))
    yield cell(asked.case.work.name) if asked.case else ""
    yield from map(number, (times.value, times.low, times.high) if times else (None, None, None))
    yield from map(number, (asked.check.least_good, asked.check.most))
    yield from map(cell, (one.basis, one.standing, one.why))
