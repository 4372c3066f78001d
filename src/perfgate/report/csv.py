"""comparison.csv: one row per case and metric, in canonical units, for spreadsheets and data frames.

suite, device, case, engine, kind, metric, unit, better, verdict, reason, waived and outcome are text; baseline and
candidate are in `unit`; change_worse, low, high, margin, detect and detectable are fractions toward
worse (0.05 is 5 % worse); evidence and needed_evidence are e-values; rounds_* are counts. What is not
known is an empty cell. outcome is the case's: passed, failed, skipped and so on. What was measured and is not gated
(device times, shares of the device's limits, what hooks add) has no verdict, and medians of its rounds; a case that
was not measured has one row without a metric. Text that a spreadsheet would run as a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.metrics import Metric, catalogue
from perfgate.record import Run, Side
from perfgate.report.figures import plain
from perfgate.report.series import Series, series_of
from perfgate.verdict import MetricVerdict

COLUMNS = (
    "suite", "device", "case", "engine", "kind", "metric", "unit", "better", "baseline", "candidate", "change_worse",
    "low", "high", "verdict", "reason", "margin", "detect", "detectable", "evidence", "needed_evidence",
    "rounds_stored", "rounds_baseline", "rounds_candidate", "waived", "outcome",
)  # fmt: skip

# What starts a formula in Excel, LibreOffice or Google Sheets (OWASP, 'CSV Injection'), full-width forms included.
_FORMULA_STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"


def render_csv(comparison: Comparison, run: Run | None = None) -> str:
    """The table in the order of the comparison; `pandas.read_csv` needs no options.

    run: for the rows of what was measured and is not gated.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    series, known = (series_of(run), catalogue(run.own_metrics)) if run else ({}, {})
    measured = _by_case(series)
    for case in comparison.cases:
        gated = {metric.metric for metric in case.metrics}
        beside = [_ungated(case.case.id, name, series, known) for name in measured[case.case.id] if name not in gated]
        rows = [*map(_judged, case.metrics), *beside] or [_Row(reason=case.case.skip or case.headline)]
        writer.writerows(_cells(comparison, case, row) for row in rows)
    return out.getvalue()


def _by_case(series: Mapping[Series, Sequence[float]]) -> Mapping[str, Sequence[str]]:
    """Names of what the candidate's rounds measured, by case."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for one in sorted(series):
        if one.side is Side.CANDIDATE:
            found[one.case].append(one.metric)
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    """What differs between the rows of a case; numbers in the order of the columns."""

    metric: str = ""
    unit: str = ""
    better: str = ""
    figures: tuple[float | None, ...] = (None,) * 5
    verdict: str = ""
    reason: str = ""
    limits: tuple[float | None, ...] = (None,) * 5
    rounds: tuple[int | None, ...] = (None,) * 3
    waived: str = ""


def _judged(one: MetricVerdict) -> _Row:
    return _Row(
        one.metric, one.unit, one.better, (one.baseline, one.candidate, one.change, one.low, one.high), one.verdict,
        one.reason, (one.margin, one.detect, one.detectable, one.evidence, one.needed_evidence),
        (one.rounds_stored, one.rounds_baseline, one.rounds_candidate), one.waived or "",
    )  # fmt: skip


def _ungated(case: str, name: str, series: Mapping[Series, Sequence[float]], known: Mapping[str, Metric]) -> _Row:
    before, now = (series.get(Series(case, name, side), ()) for side in (Side.BASELINE, Side.CANDIDATE))
    metric = known.get(name)
    unit, better = (metric.unit, metric.better) if metric else ("", "")
    figures = (_median(before), _median(now), None, None, None)
    return _Row(name, unit, better, figures, reason="not gated", rounds=(None, len(before), len(now)))


def _median(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else None


def _cells(comparison: Comparison, case: CaseVerdict, row: _Row) -> list[str]:
    return [
        *map(cell, (comparison.suite, comparison.environment.device, case.case.id, case.case.engine, case.case.kind)),
        *map(cell, (row.metric, row.unit, row.better)),
        *map(number, row.figures),
        *map(cell, (row.verdict, row.reason)),
        *map(number, row.limits),
        *("" if count is None else str(count) for count in row.rounds),
        *map(cell, (row.waived, case.outcome)),
    ]


def cell(value: str) -> str:
    clean = plain(value)
    return f"'{clean}" if clean.lstrip().startswith(tuple(_FORMULA_STARTS)) else clean


def number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))
