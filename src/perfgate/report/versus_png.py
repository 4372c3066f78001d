"""benchmark_comparison.png: every metric over concurrency for each backend, and what each is against the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from perfgate.errors import UsageError
from perfgate.metrics import Better, Metric
from perfgate.percent import percent
from perfgate.report.figures import plain
from perfgate.report.picture import png
from perfgate.report.versus_ratios import draw_ratios
from perfgate.report.versus_style import COLOURS, GREY, HATCHES, INK
from perfgate.report.versus_words import own, phrased, shared, title, unit
from perfgate.versus import COMPARED, CONFIDENCE, Side, Versus, geometric_mean

HEIGHT_PX = 1440
_OWN = {"axes.grid": False, "hatch.linewidth": 0.6}
_BAR_SHARE = 0.8  # of the room between two concurrencies
_MOST_WORDS = 200  # characters of a line above the panels
_TEXT_TOP, _LINE = 0.945, 0.018  # of that text, in shares of the picture's height
_MOST_LEVEL_LABELS = 7  # bars of a narrow panel whose labels still fit side by side


def comparison_png(versus: Versus) -> bytes:
    """The picture as PNG, 1600 px wide.

    Raises:
        UsageError: matplotlib is not installed, or there are more sides than colours.
    """
    if len(versus.sides) > len(COLOURS):
        raise UsageError(f"benchmark_comparison.png can tell {len(COLOURS)} backends apart, found {len(versus.sides)}")
    return png("benchmark_comparison.png", HEIGHT_PX, lambda figure: _draw(figure, versus), _OWN)


def _draw(figure: Any, versus: Versus) -> None:
    rows = figure.add_gridspec(
        3, 4, left=0.045, right=0.985, top=_TEXT_TOP - _LINE * (len(versus.sides) + 1.6) - 0.03, bottom=0.045,
        hspace=0.36, wspace=0.2, height_ratios=(1.15, 1, 1),
    )  # fmt: skip
    *latencies, throughput = COMPARED
    _bars(figure.add_subplot(rows[0, :2]), versus, throughput, 2 * _MOST_LEVEL_LABELS)
    draw_ratios(figure.add_subplot(rows[0, 2:]), versus)
    for number, metric in enumerate(latencies):
        _bars(figure.add_subplot(rows[1 + number % 2, number // 2]), versus, metric)
    _heading(figure, versus)


def _heading(figure: Any, versus: Versus) -> None:
    """Title, the sides with their colours and what is known of them, and how to read the rest."""
    names = [plain(side.name) for side in versus.sides]
    figure.text(0.02, 0.985, f"{', '.join(names[1:])} against {names[0]}", size=19, weight="bold", va="top")
    _line(figure, 0, 0.02, phrased(shared(versus)))
    for number, side in enumerate(versus.sides, 1):
        figure.patches.append(_swatch(figure, _TEXT_TOP - _LINE * number, number - 1))
        _line(figure, number, 0.04, f"{side.name}: {own(versus, side)}")
    reading = (
        "bars: geometric mean over rounds; dots and lines: the rounds (fresh server processes); "
        f"whiskers of ratios: {percent(CONFIDENCE, 0)} interval over rounds, open markers: one round, no interval"
    )
    _line(figure, len(versus.sides) + 1, 0.02, reading, color=GREY, size=9.5)


def _line(figure: Any, row: int, x: float, text: str, **style: Any) -> None:
    words = plain(text)
    shown = words if len(words) <= _MOST_WORDS else f"{words[: _MOST_WORDS - 3]}..."
    figure.text(x, _TEXT_TOP - _LINE * row, shown, va="center", **style)


def _swatch(figure: Any, y: float, number: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (0.02, y - 0.006), 0.014, 0.012, transform=figure.transFigure, facecolor=COLOURS[number],
        hatch=HATCHES[number], edgecolor="white", linewidth=0,
    )  # fmt: skip


# ------------------------------------------------------------------ figures of each side


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a side's bar stands at a concurrency, in steps between concurrencies."""

    side: Side
    number: int
    level: int
    x: float
    width: float


def _places(versus: Versus) -> Iterator[_Place]:
    width = _BAR_SHARE / len(versus.sides)
    for number, side in enumerate(versus.sides):
        for at, level in enumerate(versus.concurrencies):
            yield _Place(side, number, level, at + (number - (len(versus.sides) - 1) / 2) * width, width)


def _bars(axes: Any, versus: Versus, metric: Metric, most_labels: int = _MOST_LEVEL_LABELS) -> None:
    better = "lower is better" if metric.better is Better.LOWER else "higher is better"
    axes.set_title(f"{title(metric)}{', ms' if unit(metric) == 'ms' else ''}")
    axes.set_title(better, loc="right", size=9.5, weight="normal", color=GREY)
    is_crowded = len(versus.sides) * len(versus.concurrencies) > most_labels
    for place in _places(versus):
        values = [_shown(metric, value) for value in place.side.values(metric.name, place.level)]
        if values:
            _bar(axes, place, values, is_crowded=is_crowded)
        else:
            axes.text(place.x, 0.02, _why_empty(place), rotation=90, ha="center", va="bottom", size=9, color="#B00020",
                      transform=axes.get_xaxis_transform())  # fmt: skip
    _levels(axes, versus)
    axes.margins(y=0.24 if is_crowded else 0.12)
    axes.set_ylim(bottom=0)
    if not axes.patches:
        axes.set_yticks([])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.tick_params(axis="y", labelsize=9, colors=GREY)


def _bar(axes: Any, place: _Place, values: Sequence[float], *, is_crowded: bool) -> None:
    height = geometric_mean(values)
    axes.bar(
        place.x, height, place.width * 0.92, color=COLOURS[place.number], hatch=HATCHES[place.number],
        edgecolor="white", linewidth=0,
    )  # fmt: skip
    if len(values) > 1:
        step = place.width * 0.5 / len(values)
        spots = [place.x + (number - (len(values) - 1) / 2) * step for number in range(len(values))]
        axes.vlines(place.x, min(values), max(values), color=INK, linewidth=0.8)
        axes.plot(spots, values, "o", color=INK, markersize=3.2, markeredgecolor="white", markeredgewidth=0.5)
    axes.annotate(
        _label(height), (place.x, max(height, *values)), xytext=(0, 5), textcoords="offset points",
        ha="center", va="bottom", size=8.5, rotation=90 if is_crowded else 0,
    )  # fmt: skip


def _label(value: float) -> str:
    """Three significant digits: 0.512, 31.4, 1,203."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"  # noqa: PLR2004


def _shown(metric: Metric, value: float) -> float:
    return value * 1e3 if unit(metric) == "ms" else value


def _why_empty(place: _Place) -> str:
    found = place.side.at(place.level)
    if not found:
        return "not measured"
    return "invalid" if all(one.invalid for one in found) else "not in the file"


def _levels(axes: Any, versus: Versus) -> None:
    axes.set_xticks(range(len(versus.concurrencies)), [f"{level}" for level in versus.concurrencies])
    axes.set_xlim(-0.55, len(versus.concurrencies) - 0.45)
    axes.set_xlabel("concurrency", labelpad=1, size=9.5)
    axes.tick_params(axis="x", length=0)
