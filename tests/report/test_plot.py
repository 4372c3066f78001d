from __future__ import annotations

import re

import pytest
from examples import verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.report.plot import MOST_DOTS, WIDTH, plot

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def dots(path: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"M(-?\d+) (\d+)h0", path)]


def test_each_finite_round_is_a_dot_on_its_sides_line() -> None:
    made = plot(verdict("c", "ttft_p50"), [0.010, 0.011, float("nan")], [0.009])

    assert made is not None
    assert len(dots(made.candidate)) == 2
    assert len(dots(made.baseline)) == 1
    assert {y for _, y in dots(made.candidate)} != {y for _, y in dots(made.baseline)}


def test_larger_values_are_further_right() -> None:
    made = plot(verdict("c", "ttft_p50"), [0.010, 0.012, 0.011], [])

    assert made is not None
    assert [x for x, _ in dots(made.candidate)] == [5, 195, 100]


@pytest.mark.parametrize(("metric", "is_right"), [("ttft_p50", True), ("output_tokens_per_s", False)])
def test_the_margin_lies_on_the_worse_side_of_the_baseline(metric: str, *, is_right: bool) -> None:
    made = plot(verdict("c", metric, baseline=100.0), [50.0, 150.0], [])

    assert made is not None
    centre, limit = map(int, re.findall(r"M(\d+) 0H(\d+)V", made.band)[0])
    assert (limit > centre) is is_right
    assert made.centre == f"M{centre} 0v34"


def test_without_a_candidate_value_there_is_no_plot() -> None:
    assert plot(verdict("c", "ttft_p50"), [float("nan")], [0.01]) is None


def test_without_a_baseline_there_is_neither_line_nor_band() -> None:
    made = plot(verdict("c", "ttft_p50", baseline=None), [0.01], [])

    assert made is not None
    assert (made.centre, made.band, made.baseline) == ("", "", "")


def test_the_range_of_each_side_is_said() -> None:
    made = plot(verdict("c", "ttft_p50"), [0.010, 0.011], [0.009] * 14, [0.008, 0.012])

    assert made is not None
    assert made.said == "now 10.00 ms to 11.00 ms in 2; baseline again 9.000 ms; stored 8.000 ms to 12.00 ms in 2"
    assert (made.low, made.high) == ("8.000 ms", "12.00 ms")


def test_stored_rounds_are_drawn_above_and_thinned() -> None:
    made = plot(verdict("c", "ttft_p50"), [0.010], [0.010], [0.009 + i * 1e-5 for i in range(200)])

    assert made is not None
    stored, again, now = (dots(path)[0][1] for path in (made.stored, made.baseline, made.candidate))
    assert stored < again < now
    assert len(dots(made.stored)) == MOST_DOTS


@settings(deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=9), st.lists(FINITE, max_size=9), FINITE)
def test_every_dot_is_inside_the_frame(now: list[float], before: list[float], centre: float) -> None:
    made = plot(verdict("c", "ttft_p50", baseline=centre), now, before)

    assert made is not None
    places = [x for x, _ in dots(made.candidate) + dots(made.baseline)]
    assert len(places) == len(now) + len(before)
    assert all(0 <= x <= WIDTH for x in places)
