"""report.html: one offline page of a gate."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from perfgate.claim_findings import Finding
from perfgate.comparison import Comparison
from perfgate.quality import QualityLine
from perfgate.record import Run
from perfgate.report import (
    around,
    claims,
    courses,
    curves,
    distribution,
    figures,
    limits,
    machine,
    overview,
    plot,
    quality,
    roof,
    tally,
    trend,
)
from perfgate.report.answers import answers
from perfgate.report.behind import Behind
from perfgate.report.cases import Drawer, Level
from perfgate.report.findings import headline, planted, verdict_words
from perfgate.report.forest import Forest
from perfgate.report.mishaps import mishaps
from perfgate.report.room import fitted
from perfgate.report.series import series_of
from perfgate.report.watched import Watched, watched
from perfgate.verdict import GRAVITY, MetricVerdict

LIMIT_BYTES = 990_000  # of the page; figures of cases that are ok give way


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of all metrics; `number` is its case's."""

    number: int
    metric: MetricVerdict


@dataclass(frozen=True, slots=True)
class QualityRow:
    """A text under an engine, and its cells."""

    line: QualityLine
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A table that is no verdict, with what it is about and what to know before reading it. picture: of the same."""

    title: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    picture: roof.Roof | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A signal with the trail that shows it, where it has one."""

    watched: Watched
    sparkline: plot.Sparkline | None


def render_html(run: Run, comparison: Comparison, behind: Behind | None = None, found: Sequence[Finding] = ()) -> str:
    """The page: no request leaves it, and nothing in the records can become markup."""
    behind, values = behind or Behind(), series_of(run)
    page = page_environment()
    known = (
        _top(comparison, behind) | _bottom(run, comparison, behind, values) | {"sections": list(_sections(run, found))}
    )
    top, bottom = (page.get_template(name).render(known) for name in ("top.jinja", "bottom.jinja"))
    case_page = page.get_template("case.jinja")
    drawer = Drawer(run, comparison, behind, values)

    def drawn(number: int, level: Level) -> str:
        return case_page.render(known | {"one": drawer.view(number, level)})

    order = sorted(range(len(comparison.cases)), key=lambda number: _urgency(comparison, number))
    room = LIMIT_BYTES - _size(top) - _size(bottom)
    return "".join([top, *fitted(drawn, order, list(Level), room, _size), bottom])


def _size(text: str) -> int:
    return len(text.encode("utf-8"))


def _urgency(comparison: Comparison, number: int) -> tuple[bool, int, int]:
    case = comparison.cases[number]
    return case.outcome == "skipped", -GRAVITY[case.verdict], number


def _top(comparison: Comparison, behind: Behind) -> dict[str, Any]:
    rows = _rows(comparison)
    return {
        "comparison": comparison,
        "headline": headline(comparison),
        "planted": planted(comparison),
        "answers": answers(comparison, behind),
        "changed": around.changed(around.facts(comparison)),
        "title": verdict_words(comparison),
        "watched": [Shown(one, plot.sparkline(one.signal.trail)) for one in watched(comparison)],
        "rows": rows,
        "quality": [QualityRow(one, quality.cells(one)) for one in comparison.quality],
        "quality_header": quality.HEADER,
        "quality_remarks": quality.remarks(comparison.quality),
        "engines": list(dict.fromkeys(one.case.engine for one in comparison.cases)),
        "tally": overview.tally(comparison),
        "counted": tally.counted(comparison),
        "tallies": list(tally.tallies(comparison)),
        "matrix": overview.matrix(comparison),
        "numbers": {one.case.id: number for number, one in enumerate(comparison.cases)},
        "forest": Forest.over(comparison.metrics),
        "css": Markup(page_file("page.css")),  # noqa: S704 - our own file
        "script": Markup(page_file("page.js")),  # noqa: S704 - our own file
    }


def _bottom(run: Run, comparison: Comparison, behind: Behind, values: curves.Values) -> dict[str, Any]:
    return {
        "run": run,
        "mishaps": mishaps(run),
        "curves": curves.curves(run, values, behind),
        "strips": machine.strips(run),
        "courses": courses.courses(run, _failed(comparison)),
        "facts": around.facts(comparison),
        "bars": around.bars(run.prepared),
    }


def _failed(comparison: Comparison) -> frozenset[str]:
    return frozenset(one.case.engine for one in comparison.cases if one.outcome == "failed")


def _sections(run: Run, found: Sequence[Finding]) -> Iterator[Section]:
    if (told := limits.told(run)) is not None:
        yield Section(
            limits.TITLE, limits.ABOUT, limits.HEADER, told.rows, (*told.ceilings, *told.notes), roof.roof(run)
        )
    if claims.is_told(found):
        yield Section(claims.TITLE, claims.ABOUT, claims.HEADER, claims.rows(found), tuple(claims.notes(found)))


@lru_cache
def page_file(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


@lru_cache
def page_environment() -> Environment:
    """Escapes every value, makes it printable first, and refuses a name that is not there."""
    environment = Environment(
        loader=PackageLoader("perfgate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "quantity": figures.quantity,
        "worsening": figures.worsening,
        "interval": figures.interval,
        "share": figures.share,
        "detects": figures.detects,
        "duration": figures.duration,
        "count": figures.count,
        "verdict_word": figures.verdict_word,
        "mark": overview.mark,
        "csp_hash": _csp_hash,
    }
    sizes: Mapping[str, Any] = {
        "plot": plot, "trend": trend, "curve": curves, "strip": machine, "dist": distribution, "course": courses,
        "roof": roof,
    }  # fmt: skip
    environment.globals |= {"words": figures.WORDS, "estimator": figures.ESTIMATOR, "sizes": sizes}
    return environment


def _printable(value: object) -> object:
    if not isinstance(value, str) or isinstance(value, Markup) or (value.isascii() and value.isprintable()):
        return value
    return figures.plain(value)


def _rows(comparison: Comparison) -> list[Row]:
    """Every metric, gravest first, as the suite has them otherwise."""
    found = [Row(number, metric) for number, case in enumerate(comparison.cases) for metric in case.metrics]
    return sorted(found, key=lambda row: -GRAVITY[row.metric.verdict])


def _csp_hash(script: str) -> str:
    """How a content security policy names the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
