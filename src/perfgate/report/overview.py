"""Every case at a glance: engines down, workloads across."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfgate.comparison import CaseVerdict, Comparison
from perfgate.report.figures import WORDS, signed
from perfgate.verdict import GRAVITY, MetricVerdict, Verdict

MOST_COLUMNS = 24
_MARKS = {
    Verdict.OK: "\N{CHECK MARK}",
    Verdict.IMPROVED: "\N{BLACK DOWN-POINTING TRIANGLE}",
    Verdict.NO_BASELINE: "\N{WHITE CIRCLE}",
    Verdict.INCONCLUSIVE: "?",
    Verdict.INVALID: "\N{MULTIPLICATION SIGN}",
    Verdict.REGRESSED: "\N{BLACK UP-POINTING TRIANGLE}",
    Verdict.BROKEN: "\N{HEAVY EXCLAMATION MARK SYMBOL}",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One case: its number for the link, its class, its mark, and the change that decided."""

    number: int
    kind: str
    mark: str
    word: str
    change: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """cells: [engine][workload], None where the suite has no such case."""

    workloads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


def matrix(comparison: Comparison) -> Matrix | None:
    """The table of all cases; None where they share no workloads or it would be wider than can be read."""
    placed = {(one.case.engine, _workload(one)): (number, one) for number, one in enumerate(comparison.cases)}
    engines = list(dict.fromkeys(engine for engine, _ in placed))
    workloads = tuple(dict.fromkeys(work for _, work in placed))
    if len(placed) != len(comparison.cases) or not 0 < len(workloads) <= min(MOST_COLUMNS, max(1, len(placed) // 2)):
        return None
    cells = {key: _cell(*value) for key, value in placed.items()}
    return Matrix(workloads, tuple((name, tuple(cells.get((name, work)) for work in workloads)) for name in engines))


def mark(verdict: Verdict) -> str:
    """A shape for a verdict, so that colour is never all there is."""
    return _MARKS[verdict]


def word(case: CaseVerdict) -> str:
    """The verdict of a case, or that it was skipped or waived."""
    if case.outcome == "skipped":
        return "skipped"
    return f"{WORDS[case.verdict]}, waived" if case.outcome == "waived" else WORDS[case.verdict]


def kind(case: CaseVerdict) -> str:
    """The class of a case in the page: its verdict, or skipped."""
    return "skipped" if case.outcome == "skipped" else str(case.verdict)


def decisive(metrics: Iterable[MetricVerdict]) -> MetricVerdict | None:
    """The gravest metric, and of equally grave ones the most changed."""
    return max(metrics, key=lambda one: (GRAVITY[one.verdict], abs(one.change or 0.0)), default=None)


def tally(comparison: Comparison) -> Sequence[tuple[str, str, str, int]]:
    """(class, mark, word, cases) of every verdict that occurs, gravest first, skipped cases last."""
    cases = [one for one in comparison.cases if one.outcome != "skipped"]
    found = [
        (str(verdict), mark(verdict), WORDS[verdict], sum(one.verdict is verdict for one in cases))
        for verdict in sorted(Verdict, key=GRAVITY.__getitem__, reverse=True)
    ]
    skipped = len(comparison.cases) - len(cases)
    return [one for one in [*found, ("skipped", "\N{EN DASH}", "skipped", skipped)] if one[3]]


def _workload(case: CaseVerdict) -> str:
    return case.case.id.removeprefix(f"{case.case.engine}-")


def _cell(number: int, case: CaseVerdict) -> Cell:
    if case.outcome == "skipped":
        return Cell(number, "skipped", "\N{EN DASH}", "skipped", "")
    one = decisive(case.metrics)
    has_change = case.verdict in (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    change = signed(one.change) if one and has_change and one.change is not None else ""
    return Cell(number, str(case.verdict), _MARKS[case.verdict], word(case), change)
