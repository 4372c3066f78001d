"""report.html: one offline page of a gate."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from perfgate.comparison import Comparison
from perfgate.record import Run, Side
from perfgate.report import figures
from perfgate.report.findings import findings, headline, planted, verdict_words
from perfgate.report.plot import HEIGHT, WIDTH, Plot, Sparkline, plot, sparkline
from perfgate.report.series import Series, series_of
from perfgate.report.watched import Watched, watched
from perfgate.verdict import MetricVerdict


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of all metrics."""

    metric: MetricVerdict
    plot: Plot | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A signal with the trail that shows it, where it has one."""

    watched: Watched
    sparkline: Sparkline | None


@dataclass(frozen=True, slots=True)
class Uncounted:
    """A round, or a case in it, whose figures were not judged."""

    engine: str
    side: Side
    index: int
    case: str
    why: str


def render_html(run: Run, comparison: Comparison) -> str:
    """The page: no request leaves it, and nothing in the records can become markup."""
    source = files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    return _environment().from_string(source).render(
        run=run,
        comparison=comparison,
        headline=headline(comparison),
        planted=planted(comparison),
        findings=findings(comparison),
        title=verdict_words(comparison),
        watched=[Shown(one, sparkline(one.signal.trail)) for one in watched(comparison)],
        rows=_rows(run, comparison),
        uncounted=list(_uncounted(run)),
        words=figures.WORDS,
        plot_width=WIDTH,
        plot_height=HEIGHT,
    )  # fmt: skip


def _environment() -> Environment:
    """Escapes every value, makes it printable first, and refuses a name that is not there."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_printable, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "quantity": figures.quantity,
        "worsening": figures.worsening,
        "interval": figures.interval,
        "share": figures.share,
        "duration": figures.duration,
        "count": figures.count,
        "sort_key": _sort_key,
        "verdict_word": figures.verdict_word,
        "csp_hash": _csp_hash,
    }
    return environment


def _printable(value: object) -> object:
    return figures.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _rows(run: Run, comparison: Comparison) -> list[Row]:
    series = series_of(run)
    return [
        Row(metric, plot(metric, *(series.get(Series(metric.case, metric.metric, side), []) for side in Side)))
        for metric in comparison.metrics
    ]


def _uncounted(run: Run) -> Iterator[Uncounted]:
    for one in run.rounds:
        if one.fault is not None:
            yield Uncounted(one.engine, one.side, one.index, "all", one.fault)
        for measured in one.cases:
            if measured.faults:
                yield Uncounted(one.engine, one.side, one.index, measured.case, "; ".join(measured.faults))


def _sort_key(value: float | None) -> str:
    """A number for the page's sorting; what is not known sorts as absent."""
    return "" if value is None or not math.isfinite(value) else f"{value:.5g}"


def _csp_hash(script: str) -> str:
    """How a content security policy names the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
