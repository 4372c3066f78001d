"""tradeoffs.html: a sweep as one offline page, in the style of report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from perfgate.report.axis import Axis, Tick, short
from perfgate.report.figures import quantity
from perfgate.report.html import page_environment, page_file
from perfgate.report.tradeoff_spots import Panel, panels
from perfgate.report.tradeoff_table import direction, table_of
from perfgate.report.tradeoff_words import advice, effect_sentences, front_rule, headline
from perfgate.tradeoffs import Tradeoffs

WIDTH, HEIGHT = 460, 270
LEFT, RIGHT, TOP, BOTTOM = 64, 22, 16, 36
_RADIUS = 5


@dataclass(frozen=True, slots=True)
class Dot:
    """A configuration in a chart, in pixels: whiskers across and up as path data."""

    x: int
    y: int
    whiskers: str
    number: int
    is_on_front: bool
    said: str

    @property
    def label_y(self) -> int:
        """Where its number stands: odd ones above and even ones below, as neighbours in the suite are often close."""
        return self.y - 6 if self.number % 2 else self.y + 14


@dataclass(frozen=True, slots=True)
class Chart:
    """An objective over build time."""

    title: str
    better: str
    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def render_tradeoffs(found: Tradeoffs) -> str:
    """The page: no request leaves it, and nothing in the records can become markup."""
    known: dict[str, Any] = {
        "found": found,
        "headline": headline(found),
        "rule": front_rule(found) if found.options else "",
        "table": table_of(found),
        "charts": [_chart(panel) for panel in panels(found)] if found.options else [],
        "advice": advice(found),
        "effects": effect_sentences(found),
        "size": {"w": WIDTH, "h": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM},
        "radius": _RADIUS,
        "css": Markup(page_file("page.css")),  # noqa: S704 - our own file
    }
    return page_environment().get_template("tradeoffs.jinja").render(known)


def _chart(panel: Panel) -> Chart:
    spots = panel.spots
    across = _axis([(one.x_low, one.x_high) for one in spots], LEFT, WIDTH - RIGHT)
    up = _axis([(one.y_low, one.y_high) for one in spots], HEIGHT - BOTTOM, TOP)
    dots = tuple(
        Dot(
            round(across.at(one.x)), round(up.at(one.y)),
            f"M{across.at(one.x_low):.0f} {up.at(one.y):.0f}H{across.at(one.x_high):.0f}"
            f"M{across.at(one.x):.0f} {up.at(one.y_low):.0f}V{up.at(one.y_high):.0f}",
            one.number, one.is_on_front,
            f"{one.number} {one.name}: {quantity(one.y, panel.unit)} at {quantity(one.x, 's')} of building",
        )
        for one in sorted(spots, key=lambda one: one.is_on_front)
    )  # fmt: skip
    return Chart(
        panel.title, direction(panel.metric), dots,
        tuple(Tick(round(across.at(x)), short(quantity(x, ""))) for x in across.ticks(8)),
        tuple(Tick(round(up.at(y)), short(quantity(y, ""))) for y in up.ticks(5)),
    )  # fmt: skip


def _axis(spans: Sequence[tuple[float, float]], begin: float, end: float) -> Axis:
    """With room at either end, so that no dot stands on the frame."""
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    room = 0.08 * (high - low) or 0.05 * high
    return Axis(low - room, high + room, begin, end)
