"""The panel of benchmark_comparison.png that says how many times as good as the reference every backend is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from perfgate.report.figures import plain
from perfgate.report.versus_style import COLOURS, GREY, INK, MARKERS
from perfgate.report.versus_words import title
from perfgate.versus import COMPARED, Ratio, Versus, goodness

_LONGEST_WHISKER = 4.0  # times beyond the outermost ratio that the axis follows


@dataclass(frozen=True, slots=True)
class _Point:
    """A ratio, turned so that more is better, and where it stands."""

    x: float
    number: int
    level: int
    ratio: Ratio


def draw_ratios(axes: Any, versus: Versus) -> None:
    """How many times better than the reference: up is better whatever the metric."""
    axes.set_title(f"times as good as {plain(versus.reference.name)}")
    axes.set_title("up is better", loc="right", size=9.5, weight="normal", color=GREY)
    axes.axhline(1.0, color=INK, linewidth=1)
    points = list(_points(versus))
    low, high = _limits([one.ratio for one in points])
    for one in points:
        _draw_point(axes, one, low, high)
    axes.set_xlim(-0.5, len(COMPARED) - 0.5)
    axes.set_xticks(range(len(COMPARED)), [title(metric).replace(" ", "\n", 1) for metric in COMPARED], size=9.5)
    for edge in range(1, len(COMPARED)):
        axes.axvline(edge - 0.5, color="#e4e4e4", linewidth=0.8, zorder=0)
    _log_scale(axes, low, high)
    _concurrency_legend(axes, versus)


def _points(versus: Versus) -> Iterator[_Point]:
    series = [(number, level) for number in range(1, len(versus.sides)) for level in range(len(versus.concurrencies))]
    for at, (number, level) in enumerate(series):
        for column, metric in enumerate(COMPARED):
            found = versus.cell(metric.name, versus.concurrencies[level], versus.sides[number].name).ratio
            if found is not None:
                x = column + (at - (len(series) - 1) / 2) * 0.72 / len(series)
                yield _Point(x, number, level, goodness(metric, found))


def _limits(found: Sequence[Ratio]) -> tuple[float, float]:
    """Ends of the axis: all ratios and 1, with their whiskers up to four times as far; longer ones run off it."""
    values = [1.0, *(one.value for one in found)]
    least, most = min(values) / _LONGEST_WHISKER, max(values) * _LONGEST_WHISKER
    ends = [min(max(end, least), most) for one in found for end in (one.low, one.high) if end is not None]
    return min([*values, *ends]), max([*values, *ends])


def _draw_point(axes: Any, one: _Point, low: float, high: float) -> None:
    colour, found = COLOURS[one.number], one.ratio
    fill = "white"
    if found.low is not None and found.high is not None:
        fill = colour
        axes.vlines(one.x, max(found.low, low * 0.5), min(found.high, high * 2), color=colour, linewidth=1.6)
    marker = MARKERS[one.level % len(MARKERS)]
    axes.plot([one.x], [found.value], marker, color=colour, markersize=6.5, markerfacecolor=fill)


def _log_scale(axes: Any, low: float, high: float) -> None:
    """Equal factors are equally far apart, and ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    span = max(high / low, 1.1)
    axes.set_yscale("log")
    axes.set_ylim(low / span**0.12, high * span**0.3)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=_subs(span)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", length=0)
    axes.tick_params(axis="y", labelsize=9, colors=GREY)
    axes.grid(visible=True, axis="y", color="#e4e4e4", linewidth=0.8, zorder=0)


def _subs(span: float) -> tuple[float, ...]:
    """Which multiples of a power of ten have a tick."""
    if span > 100:  # noqa: PLR2004
        return (1.0,)
    return (1.0, 2.0, 5.0) if span > 3 else (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)  # noqa: PLR2004


def _concurrency_legend(axes: Any, versus: Versus) -> None:
    from matplotlib.lines import Line2D

    keys = [
        Line2D([], [], marker=MARKERS[level % len(MARKERS)], color=GREY, linestyle="", label=f"{concurrency}")
        for level, concurrency in enumerate(versus.concurrencies)
    ]
    axes.legend(
        handles=keys, title="concurrency", loc="upper left", ncols=len(keys), frameon=False, fontsize=9.5,
        title_fontsize=9.5, handletextpad=0.2, columnspacing=1.0, alignment="left", borderpad=0.1,
    )  # fmt: skip
