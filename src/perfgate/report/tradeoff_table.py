"""The configurations of a sweep as rows, for the terminal, text files and pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.metrics import CATALOGUE, Better
from perfgate.report.tradeoff_words import figure, title
from perfgate.tradeoffs import BUILD, LATENCY, QUALITY, THROUGHPUT, Tradeoffs
from perfgate.versus import geometric_mean

FRONT, DOMINATED = "*", ""


@dataclass(frozen=True, slots=True)
class Line:
    """A configuration: its number in figures, whether it is on the front, its name and a cell for each column."""

    number: int
    is_on_front: bool
    name: str
    cells: tuple[str, ...]
    dominated_by: str

    @property
    def all(self) -> tuple[str, ...]:
        return (str(self.number), FRONT if self.is_on_front else DOMINATED, self.name, *self.cells, self.dominated_by)


@dataclass(frozen=True, slots=True)
class Table:
    """Lines, those of the front first, and the metrics of their cells."""

    metrics: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def head(self) -> tuple[str, ...]:
        return ("#", "front", "configuration", *map(title, self.metrics), "dominated by")

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return [line.all for line in self.lines]


def table_of(found: Tradeoffs) -> Table:
    """Numbers are those of the measured configurations in the suite's order, also in pictures."""
    wanted = (BUILD, "engine_bytes", "load_s", LATENCY, "ttft_mean", THROUGHPUT, found.memory, QUALITY)
    metrics = tuple(name for name in wanted if any(name in one.figures for one in found.options))
    lines = [
        Line(
            number, one.is_on_front, one.name,
            tuple(figure(one, name) if name in one.figures else "-" for name in metrics),
            " ".join(one.dominated_by[:1]) + (f" +{len(one.dominated_by) - 1}" if len(one.dominated_by) > 1 else ""),
        )
        for number, one in enumerate(found.options, 1)
    ]  # fmt: skip
    build = {one.name: geometric_mean(one.figures[BUILD]) for one in found.options if BUILD in one.figures}
    return Table(metrics, tuple(sorted(lines, key=lambda line: (not line.is_on_front, build.get(line.name, 0.0)))))


def direction(metric: str) -> str:
    return "lower is better" if CATALOGUE[metric].better is Better.LOWER else "higher is better"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of equal columns: names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_cell(text, width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(text: str, width: int) -> str:
    return text.rjust(width) if text[:1].isdigit() else text.ljust(width)
