from __future__ import annotations

from dataclasses import replace

import pytest
from examples import case, comparison, run, verdict

from perfgate.comparison import Comparison
from perfgate.floats import Floats
from perfgate.measured import Point
from perfgate.record import CaseRound, Round, Side
from perfgate.report.behind import Behind
from perfgate.report.cases import Drawer, Level, View
from perfgate.report.series import series_of
from perfgate.verdict import Verdict

NAMES = ("ttft_p50", "tpot_p50")
POINTS = tuple(Point("", f"2026-01-{i + 1:02d}", "c", "k", 0.01) for i in range(5))


def view(level: Level, *kinds: Verdict, behind: Behind | None = None) -> View:
    metrics = [verdict("e-w", name, kind) for name, kind in zip(NAMES, kinds, strict=False)]
    made = comparison(case("e-w", *metrics))
    samples = {"ttft": Floats([0.01, 0.02] * 20)}
    extra = tuple(Round("e", side, 9, "", 1.0, (CaseRound("e-w", {}, samples),)) for side in Side)
    measured = replace(run(made), rounds=(*run(made).rounds, *extra))
    trails = behind or Behind({}, {("e-w", name): POINTS for name in NAMES})
    return Drawer(measured, made, trails, series_of(measured)).view(0, level)


def test_in_full_every_metric_has_rounds_and_history_and_samples_are_drawn() -> None:
    made = view(Level.FULL, Verdict.OK, Verdict.REGRESSED)

    assert [bool(line.plot and line.trend) for line in made.lines] == [True, True]
    assert [one.name for one in made.distributions] == ["ttft"]
    assert made.left_out == ""


@pytest.mark.parametrize(
    ("level", "lines", "trends", "distributions", "lost"),
    [
        (Level.ROUNDS, 2, 1, 1, "the history of metrics that are ok"),
        (Level.LEAN, 1, 1, 1, "rounds and history of metrics that are ok"),
        (Level.BARE, 0, 0, 0, "all figures of this case"),
    ],
)
def test_what_is_not_ok_gives_way_last(level: Level, lines: int, trends: int, distributions: int, lost: str) -> None:
    made = view(level, Verdict.OK, Verdict.REGRESSED)

    assert len(made.lines) == lines
    assert sum(line.trend is not None for line in made.lines) == trends
    assert len(made.distributions) == distributions
    assert made.left_out.endswith(lost)


def test_nothing_is_said_to_be_left_out_where_nothing_is() -> None:
    assert view(Level.LEAN, Verdict.REGRESSED, Verdict.REGRESSED).left_out == ""
    assert view(Level.ROUNDS, Verdict.OK, behind=Behind()).left_out == ""


def test_only_some_of_many_failed_cases_are_open() -> None:
    made: Comparison = comparison(
        *(case(f"e{i}-w", verdict(f"e{i}-w", "ttft_p50", Verdict.REGRESSED)) for i in range(20))
    )
    measured = run(made)
    drawer = Drawer(measured, made, Behind(), series_of(measured))

    assert [drawer.view(number, Level.BARE).is_open for number in range(20)] == [True] * 6 + [False] * 14
