"""comparison.png: how many metrics came to what, those that are not ok with their intervals, and all by metric."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from perfgate.comparison import Comparison
from perfgate.report.figures import WORDS, count, effort, plain, quantity, verdict_word, worsening
from perfgate.report.findings import headline, not_ok
from perfgate.report.picture import png
from perfgate.report.versus_style import FAINT, GREY
from perfgate.verdict import GRAVITY, MetricVerdict, Verdict

MOST_ROWS = 30  # metrics that are not ok, gravest first; summary.txt has them all
_LEAST_ROWS = 6
_TOP_PX, _ROW_PX, _FOOT_PX = 230, 26, 70
_LEAST_SHOWN = 0.1  # the axis of changes reaches at least so far to both sides
_LETTERS = 46
_COLOURS = {  # Okabe and Ito's; a mark of its own beside each
    Verdict.OK: ("#009E73", "o"),
    Verdict.IMPROVED: ("#0072B2", "v"),
    Verdict.NO_BASELINE: ("#999999", "s"),
    Verdict.INCONCLUSIVE: ("#E69F00", "D"),
    Verdict.INVALID: ("#CC79A7", "X"),
    Verdict.REGRESSED: ("#D55E00", "^"),
    Verdict.BROKEN: ("#000000", "P"),
}


def comparison_png(comparison: Comparison) -> bytes:
    """The picture as PNG, 1600 px wide.

    Raises:
        UsageError: matplotlib is not installed.
    """
    wrong, names = not_ok(comparison.metrics)[:MOST_ROWS], _names(comparison)
    rows = max(len(wrong), len(names), _LEAST_ROWS)
    height = _TOP_PX + _FOOT_PX + _ROW_PX * rows

    def draw(figure: Any) -> None:
        _heading(figure, comparison, height)
        top, bottom = 1 - _TOP_PX / height, _FOOT_PX / height
        _counts(figure.add_axes((0.03, 1 - 150 / height, 0.94, 40 / height)), comparison)
        _wrong(figure.add_axes((0.25, bottom, 0.24, top - bottom)), wrong, comparison, rows)
        _all(figure.add_axes((0.77, bottom, 0.2, top - bottom)), names, comparison, rows)

    return png("comparison.png", height, draw, {"font.size": 10})


def _names(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(one.metric for one in comparison.metrics))


def _heading(figure: Any, comparison: Comparison, height: int) -> None:
    figure.text(0.03, 1 - 18 / height, plain(headline(comparison))[:130], size=17, weight="bold", va="top")
    spent = effort(comparison.rounds, comparison.seconds)
    before = f"baseline of {comparison.baseline.accepted}" if comparison.baseline else "no baseline"
    where = f"suite {comparison.suite} on {comparison.environment.device}, {comparison.started}; {before}; {spent}"
    figure.text(0.03, 1 - 56 / height, plain(where)[:200], color=GREY, va="top")


def _counts(axes: Any, comparison: Comparison) -> None:
    """A bar with a piece for each verdict, gravest first, and its words above."""
    counts, begin = Counter(one.verdict for one in comparison.metrics), 0
    for verdict in sorted(counts, key=GRAVITY.__getitem__, reverse=True):
        axes.barh(0, counts[verdict], left=begin, color=_COLOURS[verdict][0], height=0.5, edgecolor="white")
        begin += counts[verdict]
    shown = [f"{counts[one]} {WORDS[one]}" for one in sorted(counts, key=GRAVITY.__getitem__, reverse=True)]
    axes.set_title(f"{count(begin, 'metric')}: {', '.join(shown)}" if shown else "nothing was judged")
    axes.set_xlim(0, max(begin, 1))
    axes.axis("off")


def _wrong(axes: Any, wrong: Sequence[MetricVerdict], comparison: Comparison, rows: int) -> None:
    """A row each: name, change with its 99 % interval, figures; gravest on top."""
    if not wrong:
        axes.axis("off")
        axes.set_title("Every metric is ok" if comparison.metrics else "", x=-0.9)
        return
    left = len(not_ok(comparison.metrics)) - len(wrong)
    axes.set_title(f"Not ok{f' (and {left} more: summary.txt)' if left else ''}", x=-0.9)
    for row, one in enumerate(wrong):
        colour, mark = _COLOURS[one.verdict]
        if _is_known(one.low) and _is_known(one.high):
            axes.plot([one.low, one.high], [row, row], color=colour, linewidth=1.6)
        if _is_known(one.change):
            axes.plot(one.change, row, marker=mark, color=colour, markersize=8)
        axes.text(1.03, row, _told(one), transform=axes.get_yaxis_transform(), va="center", size=9, color=GREY)
    _rows(axes, [f"{one.case} {one.metric}" for one in wrong], rows)
    _changes(axes, wrong)


def _told(one: MetricVerdict) -> str:
    now, before = quantity(one.candidate, one.unit), quantity(one.baseline, one.unit, like=one.candidate)
    return plain(f"{verdict_word(one)}: {before} -> {now}")[:_LETTERS]


def _all(axes: Any, names: Sequence[str], comparison: Comparison, rows: int) -> None:
    """A row for each metric with a mark for each case."""
    axes.set_title("All metrics, a mark for each case", x=-0.35)
    known = [one for one in comparison.metrics if _is_known(one.change)]
    for one in known:
        colour, mark = _COLOURS[one.verdict]
        axes.plot(one.change, names.index(one.metric), marker=mark, color=colour, markersize=6, alpha=0.75)
    _rows(axes, names, rows)
    _changes(axes, known)


def _rows(axes: Any, names: Sequence[str], rows: int) -> None:
    axes.set_yticks(range(len(names)), [_short(plain(name)) for name in names], size=9)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def _short(name: str) -> str:
    """The end tells more than the beginning: it is the metric."""
    return name if len(name) <= _LETTERS else f"...{name[3 - _LETTERS :]}"


def _changes(axes: Any, shown: Sequence[MetricVerdict]) -> None:
    """The axis: worse to the right; intervals may leave it, changes do not."""
    reach = max([_LEAST_SHOWN, *(1.3 * abs(one.change) for one in shown if _is_known(one.change) and one.change)])
    axes.set_xlim(-reach, reach)
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.grid(axis="x", color="#e8e8e8")
    axes.set_axisbelow(True)
    ticks = [-reach / 1.3, 0, reach / 1.3]
    axes.set_xticks(ticks, [worsening(tick) for tick in ticks], size=9, color=GREY)


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
