"""comparison.csv: one row per case and metric, in canonical units, for spreadsheets and data frames.

suite, device, case, engine, kind, metric, unit, better, verdict, reason and waived are text; baseline and
candidate are in `unit`; change_worse, low, high, margin, detect and detectable are fractions toward
worse (0.05 is 5 % worse); evidence and needed_evidence are e-values; rounds_* are counts. What is not
known is an empty cell. Text that a spreadsheet would run as a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import math

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.report.figures import plain
from perfgate.verdict import MetricVerdict

COLUMNS = (
    "suite", "device", "case", "engine", "kind", "metric", "unit", "better", "baseline", "candidate", "change_worse",
    "low", "high", "verdict", "reason", "margin", "detect", "detectable", "evidence", "needed_evidence",
    "rounds_stored", "rounds_baseline", "rounds_candidate", "waived",
)  # fmt: skip

# What starts a formula in Excel, LibreOffice or Google Sheets (OWASP, 'CSV Injection'), full-width forms included.
_FORMULA_STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"


def render_csv(comparison: Comparison) -> str:
    """The table in the order of the comparison; `pandas.read_csv` needs no options."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case in comparison.cases:
        writer.writerows(_row(comparison, case, metric) for metric in case.metrics)
    return out.getvalue()


def _row(comparison: Comparison, case: CaseVerdict, metric: MetricVerdict) -> list[str]:
    return [
        *map(cell, (comparison.suite, comparison.environment.device, case.case.id, case.case.engine, case.case.kind)),
        *map(cell, (metric.metric, metric.unit, metric.better)),
        *map(_number, (metric.baseline, metric.candidate, metric.change, metric.low, metric.high)),
        *map(cell, (metric.verdict, metric.reason)),
        *map(_number, (metric.margin, metric.detect, metric.detectable, metric.evidence, metric.needed_evidence)),
        *map(str, (metric.rounds_stored, metric.rounds_baseline, metric.rounds_candidate)),
        cell(metric.waived or ""),
    ]


def cell(value: str) -> str:
    clean = plain(value)
    return f"'{clean}" if clean.lstrip().startswith(tuple(_FORMULA_STARTS)) else clean


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))
