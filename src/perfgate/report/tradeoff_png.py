"""tradeoffs.png: every objective over build time, the front filled, the rest hollow, whiskers over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perfgate.report.figures import plain
from perfgate.report.picture import DPI, png
from perfgate.report.tradeoff_spots import Panel, Spot, grouping, panels
from perfgate.report.tradeoff_table import direction, table_of
from perfgate.report.tradeoff_words import headline
from perfgate.report.versus_style import COLOURS, GREY, INK, MARKERS
from perfgate.tradeoffs import Tradeoffs

HEIGHT_PX = 1100
_GRID = {"axes.grid": True, "grid.color": "#e8e8e8", "axes.axisbelow": True}
_MOST_LISTED = 34  # configurations that the list at the side has room for
_MOST_NAME = 30


def tradeoffs_png(found: Tradeoffs) -> bytes:
    """The picture as PNG, 1600 px wide.

    Raises:
        UsageError: matplotlib is not installed.
    """
    return png("tradeoffs.png", HEIGHT_PX, lambda figure: _draw(figure, found), _GRID)


def _draw(figure: Any, found: Tradeoffs) -> None:
    figure.text(0.03, 0.975, plain(headline(found)), size=17, weight="bold", va="top")
    reading = (
        f"geometric mean over rounds, whiskers to the lowest and highest of them; traffic: {found.traffic}. "
        "Filled: on the front; hollow: dominated"
    )
    figure.text(0.03, 0.935, plain(reading), color=GREY, va="top")
    drawn = panels(found)
    rows = figure.add_gridspec(2, 2, left=0.055, right=0.75, top=0.865, bottom=0.065, hspace=0.27, wspace=0.2)
    for number, panel in enumerate(drawn):
        _panel(figure.add_subplot(rows[number // 2, number % 2]), panel)
    _list(figure, found)


def _panel(axes: Any, panel: Panel) -> None:
    axes.set_title(panel.title)
    axes.set_title(direction(panel.metric), loc="right", size=9.5, weight="normal", color=GREY)
    for spot in panel.spots:
        _spot(axes, spot)
    axes.margins(0.1)
    for spot, (dx, dy) in zip(panel.spots, _offsets(axes, panel.spots), strict=True):
        axes.annotate(
            str(spot.number), (spot.x, spot.y), xytext=(dx, dy), textcoords="offset points", size=8.5, ha="center",
            va="center", color=INK if spot.is_on_front else GREY, weight="bold" if spot.is_on_front else "normal",
        )  # fmt: skip
    axes.set_xlabel("build time, s (cold)", size=9.5)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.tick_params(labelsize=9, colors=GREY)


def _spot(axes: Any, spot: Spot) -> None:
    colour, mark = COLOURS[spot.groups[0] % len(COLOURS)], MARKERS[spot.groups[1] % len(MARKERS)]
    axes.errorbar(
        spot.x, spot.y, xerr=[[spot.x - spot.x_low], [spot.x_high - spot.x]],
        yerr=[[spot.y - spot.y_low], [spot.y_high - spot.y]], color=colour, elinewidth=0.8, capsize=2, marker=mark,
        markersize=9 if spot.is_on_front else 7, markerfacecolor=colour if spot.is_on_front else "white",
        markeredgecolor=colour, alpha=1.0 if spot.is_on_front else 0.7, linestyle="none",
    )  # fmt: skip


_PLACES = ((10, 8), (-10, 8), (10, -9), (-10, -9), (0, 14), (0, -15), (18, 0), (-18, 0))


def _offsets(axes: Any, spots: Sequence[Spot]) -> list[tuple[int, int]]:
    """Where each number stands beside its spot, in points: the first place that is clear of spots and other numbers."""
    axes.autoscale_view()
    at = [tuple(axes.transData.transform((spot.x, spot.y))) for spot in spots]
    pixels = DPI / 72
    taken: list[tuple[float, float]] = list(at)
    out = []
    for x, y in at:
        free = [
            place for place in _PLACES
            if all(abs(x + place[0] * pixels - a) + abs(y + place[1] * pixels - b) > 14 for a, b in taken)  # noqa: PLR2004
        ]  # fmt: skip
        place = (free or _PLACES)[0]
        taken.append((x + place[0] * pixels, y + place[1] * pixels))
        out.append(place)
    return out


def _list(figure: Any, found: Tradeoffs) -> None:
    """At the side: what colours and marks mean, and the names by number, the front first."""
    y, step = 0.865, 0.021
    for number, (axis, values) in enumerate(grouping(found)):
        figure.text(0.78, y, plain(f"{'colour' if number == 0 else 'mark'}: {axis}"), color=GREY, va="center")
        for place, value in enumerate(values[: len(COLOURS)]):
            y -= step
            _key(figure, y, (place, 0) if number == 0 else (0, place), is_colour=number == 0)
            figure.text(0.80, y, plain(value)[:_MOST_NAME], va="center")
        y -= 1.6 * step
    lines = table_of(found).lines
    for line in lines[:_MOST_LISTED]:
        weight, colour = ("bold", INK) if line.is_on_front else ("normal", GREY)
        figure.text(0.797, y, str(line.number), weight=weight, color=colour, va="center", ha="right", size=9.5)
        figure.text(0.803, y, plain(line.name)[:_MOST_NAME], weight=weight, color=colour, va="center", size=9.5)
        y -= step
    if len(lines) > _MOST_LISTED:
        figure.text(0.803, y, f"and {len(lines) - _MOST_LISTED} more: tradeoffs.txt", color=GREY, va="center", size=9.5)


def _key(figure: Any, y: float, groups: tuple[int, int], *, is_colour: bool) -> None:
    from matplotlib.lines import Line2D

    colour = COLOURS[groups[0] % len(COLOURS)] if is_colour else GREY
    mark = "o" if is_colour else MARKERS[groups[1] % len(MARKERS)]
    figure.add_artist(
        Line2D([0.787], [y], marker=mark, color=colour, markersize=8, linestyle="none", transform=figure.transFigure)
    )
