from __future__ import annotations

import re

import pytest
from examples import verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.report.plot import WIDTH, plot

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
    assert [x for x, _ in dots(made.candidate)] == [5, 155, 80]


@pytest.mark.parametrize(("metric", "is_right"), [("ttft_p50", True), ("output_tokens_per_s", False)])
def test_the_margin_lies_on_the_worse_side_of_the_baseline(metric: str, *, is_right: bool) -> None:
    made = plot(verdict("c", metric, baseline=100.0), [50.0, 150.0], [])

    assert made is not None
    centre, limit = map(int, re.findall(r"M(\d+) 0H(\d+)V", made.band)[0])
    assert (limit > centre) is is_right
    assert made.centre == f"M{centre} 0v20"


def test_without_a_candidate_value_there_is_no_plot() -> None:
    assert plot(verdict("c", "ttft_p50"), [float("nan")], [0.01]) is None


def test_without_a_baseline_there_is_neither_line_nor_band() -> None:
    made = plot(verdict("c", "ttft_p50", baseline=None), [0.01], [])

    assert made is not None
    assert (made.centre, made.band, made.baseline) == ("", "", "")


def test_the_values_are_said_with_their_unit_once() -> None:
    made = plot(verdict("c", "ttft_p50"), [0.010, 0.011], [0.009] * 14)

    assert made is not None
    side = ", ".join(["9.000"] * 12)
    assert made.said == f"now 10.00, 11.00 ms; baseline run again {side} ms and 2 more"


@settings(deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=9), st.lists(FINITE, max_size=9), FINITE)
def test_every_dot_is_inside_the_frame(now: list[float], before: list[float], centre: float) -> None:
    made = plot(verdict("c", "ttft_p50", baseline=centre), now, before)

    assert made is not None
    places = [x for x, _ in dots(made.candidate) + dots(made.baseline)]
    assert len(places) == len(now) + len(before)
    assert all(0 <= x <= WIDTH for x in places)
