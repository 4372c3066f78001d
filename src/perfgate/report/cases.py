"""The figures of one case, as much of them as a page has room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.metrics import LOSS
from perfgate.record import Run, Side
from perfgate.report import overview
from perfgate.report.behind import Behind
from perfgate.report.curves import Values
from perfgate.report.distribution import COARSE, FINE, Detail, Distribution, distributions, samples_of
from perfgate.report.plot import Plot, plot
from perfgate.report.series import Series
from perfgate.report.trend import Trend, trend
from perfgate.verdict import MetricVerdict, Verdict

_FEW_CASES = 40  # up to which curves are drawn finely
_MOST_OPEN = 6  # cases that are unfolded from the start


class Level(Enum):
    """How much of a case is drawn, from all to nothing."""

    FULL = "every metric's rounds and history, and distributions"
    ROUNDS = "the same without the history of what is ok"
    LEAN = "distributions, and rounds of what is not ok"
    BARE = "no figures"


@dataclass(frozen=True, slots=True)
class Line:
    """A metric with its rounds and its sessions."""

    metric: MetricVerdict
    plot: Plot | None
    trend: Trend | None

    @property
    def unplotted(self) -> str:
        """Why no round is drawn."""
        is_judged = self.metric.metric == LOSS and self.metric.change is not None
        return "judged from the scores of both engines" if is_judged else "no valid round"


@dataclass(frozen=True, slots=True)
class View:
    """A case as the page shows it. left_out: why figures are missing; empty where none is."""

    number: int
    case: CaseVerdict
    kind: str
    mark: str
    word: str
    decisive: MetricVerdict | None
    is_open: bool
    lines: tuple[Line, ...]
    distributions: tuple[Distribution, ...]
    left_out: str

    @property
    def has_trend(self) -> bool:
        return any(line.trend for line in self.lines)


class Drawer:
    """Draws any case of a run at any level."""

    def __init__(self, run: Run, comparison: Comparison, behind: Behind, values: Values) -> None:
        self._comparison, self._behind, self._values = comparison, behind, values
        self._detail: Detail = FINE if len(comparison.cases) <= _FEW_CASES else COARSE
        self._samples = samples_of(run, self._detail.names)
        self._open = frozenset([case.case.id for case in comparison.cases if _is_urgent(case)][:_MOST_OPEN])
        self._drawn: dict[str, tuple[Distribution, ...]] = {}

    def view(self, number: int, level: Level) -> View:
        case = self._comparison.cases[number]
        return View(
            number, case, overview.kind(case), overview.mark(case.verdict), overview.word(case),
            overview.decisive(case.metrics), case.case.id in self._open, tuple(self._lines(case, level)),
            self._distributions(case, level), self._left_out(case, level),
        )  # fmt: skip

    def _lines(self, case: CaseVerdict, level: Level) -> Iterator[Line]:
        for metric in case.metrics:
            is_ok = metric.verdict is Verdict.OK
            if level in (Level.FULL, Level.ROUNDS) or (level is Level.LEAN and not is_ok):
                has_trend = level is Level.FULL or not is_ok
                yield Line(metric, self._plot(metric), self._trend(metric) if has_trend else None)

    def _left_out(self, case: CaseVerdict, level: Level) -> str:
        """What a richer level would have shown; empty where that is nothing."""
        fine = [metric for metric in case.metrics if metric.verdict is Verdict.OK]
        lost = {
            Level.FULL: False,
            Level.ROUNDS: any((metric.case, metric.metric) in self._behind.trails for metric in fine),
            Level.LEAN: bool(fine),
            Level.BARE: bool(case.metrics),
        }
        return _LEFT_OUT[level] if lost[level] else ""

    def _plot(self, metric: MetricVerdict) -> Plot | None:
        now, again = (self._rounds(metric, side) for side in (Side.CANDIDATE, Side.BASELINE))
        return plot(metric, now, again, self._behind.stored.get((metric.case, metric.metric), ()))

    def _trend(self, metric: MetricVerdict) -> Trend | None:
        trail = self._behind.trails.get((metric.case, metric.metric), ())
        has_steps = self._detail is FINE or metric.verdict is not Verdict.OK
        return trend(metric, trail, metric.candidate, self._detail.sessions, has_steps=has_steps)

    def _rounds(self, metric: MetricVerdict, side: Side) -> Sequence[float]:
        return self._values.get(Series(metric.case, metric.metric, side), ())

    def _distributions(self, case: CaseVerdict, level: Level) -> tuple[Distribution, ...]:
        name = case.case.id
        if level is Level.BARE or name not in self._samples:
            return ()
        if name not in self._drawn:  # at two levels they are the same
            self._drawn[name] = tuple(distributions(self._samples[name], self._detail))
        return self._drawn[name]


_LEFT_OUT = {
    Level.ROUNDS: "left out, so that the page stays small: the history of metrics that are ok",
    Level.LEAN: "left out, so that the page stays small: rounds and history of metrics that are ok",
    Level.BARE: "left out, so that the page stays small: all figures of this case",
}


def _is_urgent(case: CaseVerdict) -> bool:
    return case.outcome == "failed" or case.verdict is Verdict.REGRESSED
