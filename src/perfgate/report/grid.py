"""Metrics as lines of aligned columns, as many columns as a page has room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from perfgate.report.figures import ABSENT, detects, interval, plain, quantity, signed, verdict_word, worsening
from perfgate.report.page import Page, shortened
from perfgate.verdict import MetricVerdict

_Columns = Mapping[str, Callable[[MetricVerdict], str]]
_COLUMNS: dict[str, Callable[[MetricVerdict], str]] = {
    "case": lambda m: plain(m.case),
    "metric": lambda m: plain(m.metric),
    "baseline": lambda m: quantity(m.baseline, m.unit, like=m.candidate, brief=True),
    "now": lambda m: quantity(m.candidate, m.unit),
    "change": lambda m: worsening(m.change),
    "worse by": lambda m: signed(m.change),
    "99 % interval": lambda m: interval(m.low, m.high),
    "verdict": verdict_word,
    "detects": lambda m: detects(m.detectable),  # the smallest worsening that would have shown
}
_BRIEF = _COLUMNS | {"now": lambda m: quantity(m.candidate, m.unit, brief=True)}  # where units have no room
_TEXT = ("case", "metric", "verdict")  # aligned left, cut where there is no room

# From the fullest to the leanest; without a column for it, the case stands in a line above its metrics.
_LAYOUTS = (
    ("case", "metric", "baseline", "now", "change", "99 % interval", "verdict", "detects"),
    ("case", "metric", "baseline", "now", "worse by", "99 % interval", "verdict", "detects"),
    ("metric", "baseline", "now", "change", "99 % interval", "verdict", "detects"),
    ("metric", "baseline", "now", "worse by", "99 % interval", "verdict", "detects"),
    ("metric", "baseline", "now", "worse by", "99 % interval", "verdict"),
    ("metric", "worse by", "99 % interval", "verdict"),
    ("metric", "worse by", "verdict"),
)
_SHORTEST_NAME = 8  # letters of a metric that are always left


def grid(metrics: Sequence[MetricVerdict], page: Page) -> Iterator[str]:
    """A heading and one line per metric; no number is ever cut, and a column that would say nothing is left out."""
    columns, widths = _fitting(metrics, page.width)
    yield _line([name.ljust(size) if name in _TEXT else name.rjust(size) for name, size in widths.items()])
    case = None
    for metric in metrics:
        if "case" not in widths and metric.case != case:
            case = metric.case
            yield shortened(plain(case), page.width)
        shown = {name: columns[name](metric) for name in widths}
        yield _line([_cell(name, shown[name], size, metric, page) for name, size in widths.items()])


def _fitting(metrics: Sequence[MetricVerdict], room: int) -> tuple[_Columns, dict[str, int]]:
    """The fullest layout that fits and its widths, with units if they fit; the leanest gives up letters of names."""
    sized = [(columns, _sizes(columns, metrics)) for columns in (_COLUMNS, _BRIEF)]
    told = [name for name, cell in _COLUMNS.items() if any(cell(metric) != ABSENT for metric in metrics)]
    for layout in ([name for name in names if name in told] for names in _LAYOUTS):
        for columns, sizes in sized:
            widths = {name: sizes[name] for name in layout}
            if _total(widths) <= room:
                return columns, widths
    return _BRIEF, widths | {"metric": max(_SHORTEST_NAME, widths["metric"] + room - _total(widths))}


def _sizes(columns: _Columns, metrics: Sequence[MetricVerdict]) -> dict[str, int]:
    return {name: max(len(name), *(len(cell(metric)) for metric in metrics)) for name, cell in columns.items()}


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + 2 * len(widths) - 1  # one before the first column, two between columns


def _cell(name: str, shown: str, size: int, metric: MetricVerdict, page: Page) -> str:
    cell = shortened(shown, size).ljust(size) if name in _TEXT else shown.rjust(size)
    return page.painted(cell, metric.verdict) if name == "verdict" else cell


def _line(cells: Sequence[str]) -> str:
    return f" {'  '.join(cells)}".rstrip()
