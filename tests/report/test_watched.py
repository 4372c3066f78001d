"""Signals in every report: told, painted where they fail, and never markup."""

from __future__ import annotations

from dataclasses import replace

import pytest
from examples import HOSTILE, case, comparison, run, verdict
from hypothesis import given
from hypothesis import strategies as st

from perfgate.comparison import Comparison
from perfgate.report.html import render_html
from perfgate.report.markdown import render_markdown
from perfgate.report.plot import HEIGHT, WIDTH, sparkline
from perfgate.report.text import table
from perfgate.report.watched import MOST_TOLD, watched
from perfgate.terms import Reaction, Watch
from perfgate.watch import Commits, Signal, SignalKind

CREEP = Signal(
    SignalKind.CREEP, "int8-chat", "itl_p50", 0.051, "2026-01-14", Commits("c1", "c9"),
    "int8-chat itl_p50: now 5.1 % worse than the pinned engine measured beside it; since 2026-01-14, commits c1..c9",
    trail=(0.0, 0.01, 0.051),
)  # fmt: skip
SHIFT = Signal(SignalKind.SUITE_SHIFT, None, None, 0.01, "2026-01-14", None, "all 5 engines together are 1.0 % worse")
FAILING = Watch(creep=Reaction.FAIL)


def _made(*signals: Signal, watch: Watch | None = None) -> Comparison:
    fine = case("int8-chat", verdict("int8-chat", "itl_p50"))
    return comparison(fine, signals=signals, watch=watch or Watch())


def _text(made: Comparison, *, colour: bool = False) -> str:
    return table(made, verbose=False, width=300, colour=colour)


def test_failures_come_first_then_what_is_confirmed_then_the_largest() -> None:
    doubtful, small = replace(CREEP, is_confirmed=False, size=0.5), replace(SHIFT, size=0.002)

    found = watched(_made(small, doubtful, SHIFT, CREEP, watch=FAILING))

    assert [one.signal for one in found] == [CREEP, SHIFT, small, doubtful]
    assert [one.is_failure for one in found] == [True, False, False, False]


def test_the_terminal_tells_signals_after_the_table() -> None:
    lines = _text(_made(CREEP)).splitlines()

    (told,) = (line for line in lines if line.startswith("watch: "))
    assert told == f"watch: creep: {CREEP.text} (reported, not gated)"
    assert lines[-1] == "ok: 1 passed"


def test_a_failure_is_painted_and_in_the_last_line() -> None:
    lines = _text(_made(CREEP, watch=FAILING), colour=True).splitlines()

    (told,) = (line for line in lines if "watch: " in line)
    assert told == f"\x1b[31;1mwatch: creep: {CREEP.text} (fails the gate)\x1b[0m"
    assert lines[-1] == "\x1b[31;1mok, WATCH FAILED: 1 passed\x1b[0m"


def test_without_signals_nothing_is_said() -> None:
    assert "watch" not in _text(_made()).lower()
    assert "watch" not in render_markdown(_made()).lower()
    assert "Over time" not in render_html(run(_made()), _made())


def test_many_signals_are_counted_in_the_terminal() -> None:
    text = _text(_made(*(replace(SHIFT, size=i / 100) for i in range(MOST_TOLD + 2))))

    assert text.count("watch: suite-shift") == MOST_TOLD
    assert "watch: 2 more signals in report.html" in text


def test_what_is_not_confirmed_says_so() -> None:
    assert "watch: creep (not confirmed): " in _text(_made(replace(CREEP, is_confirmed=False)))


def test_markdown_tells_signals() -> None:
    line = "- watch: suite-shift&#58; all 5 engines together are 1.0 % worse (reported, not gated)."

    assert line in render_markdown(_made(SHIFT)).splitlines()


def test_markdown_shows_a_failure() -> None:
    text = render_markdown(_made(CREEP, watch=FAILING))

    assert text.startswith("## ok, WATCH FAILED&#58; 1 passed\n")
    assert "- **WATCH FAILED** watch: creep&#58; int8-chat itl_p50&#58; now 5.1 % worse" in text


def test_the_page_shows_a_failure_with_its_trail() -> None:
    made = _made(CREEP, SHIFT, watch=FAILING)

    page = render_html(run(made), made)

    assert '<h1 class="regressed">ok, WATCH FAILED: 1 passed</h1>' in page
    assert '<td class="regressed">fails the gate</td>' in page
    assert page.count('class="t"') == 1
    assert "<title>3 sessions, from no change to 5.1 % worse; now 5.1 % worse</title>" in page


def test_nothing_in_a_signal_becomes_markup() -> None:
    made = _made(replace(CREEP, case=HOSTILE, text=HOSTILE, commits=Commits(HOSTILE, HOSTILE)))

    assert "<script>alert" not in render_html(run(made), made)
    assert "<script>" not in render_markdown(made)
    assert "\x1b" not in _text(made)


@pytest.mark.parametrize("trail", [(), (0.1,), (0.1, float("nan"))])
def test_a_trail_of_less_than_two_points_is_no_line(trail: tuple[float, ...]) -> None:
    assert sparkline(trail) is None


def test_upwards_is_worse() -> None:
    drawn = sparkline((0.0, 0.05))

    assert drawn is not None
    assert (drawn.trail, drawn.zero) == ("M5 32.0L195 2.0", "M0 32.0H200")


@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=120))
def test_a_line_stays_within_its_frame(trail: list[float]) -> None:
    drawn = sparkline(trail)

    assert drawn is not None
    points = [tuple(map(float, point.split())) for point in drawn.trail.removeprefix("M").split("L")]
    assert len(points) == len(trail)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
