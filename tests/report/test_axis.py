from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.report.axis import Axis, line, short, thinned

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def test_ends_of_the_range_are_at_the_ends_in_pixels() -> None:
    axis = Axis.over([2.0, 4.0, 3.0], 10, 110)

    assert [axis.at(value) for value in (2.0, 3.0, 4.0, 99.0, -99.0)] == [10, 60, 110, 110, 10]


@given(st.lists(FINITE, min_size=1), FINITE)
def test_every_value_is_within_the_pixels(values: list[float], asked: float) -> None:
    assert 5 <= Axis.over(values, 5, 50).at(asked) <= 50


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 10, [0, 5, 10]), (0.012, 0.031, [0.02, 0.03]), (-3, 3, [-2, 0, 2]), (1, 1, [])]
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert Axis(low, high, 0, 100).ticks(3) == pytest.approx(ticks)


@given(FINITE, FINITE, st.integers(1, 8))
def test_ticks_are_few_and_within_the_axis(one: float, other: float, wanted: int) -> None:
    low, high = sorted((one, other))
    slack = (high / 2 - low / 2) * 1e-6 + max(abs(low), abs(high)) * 1e-9

    ticks = Axis(low, high, 0, 100).ticks(wanted)

    assert len(ticks) <= wanted + 1
    assert all(low - slack <= tick <= high + slack for tick in ticks)


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(-500, 500)), min_size=1))
def test_a_line_goes_through_its_points(points: list[tuple[int, int]]) -> None:
    here, seen = (0, 0), []
    for command, numbers in re.findall(r"([Mlhv])([-\d ]+)", line(points)):
        found = [int(number) for number in re.findall(r"-?\d+", numbers)]
        step = {"h": [found[0], 0], "v": [0, found[0]]}.get(command, found)
        here = (step[0], step[1]) if command == "M" else (here[0] + step[0], here[1] + step[1])
        seen.append(here)

    assert seen == _without_what_lies_between(points)


def _without_what_lies_between(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A point once where it follows itself, and of those that go on along a level only the last."""
    kept: list[tuple[int, int]] = []
    for point in points:
        if point in kept[-1:]:
            continue
        if len(kept) > 1 and kept[-2][1] == kept[-1][1] == point[1]:
            before, here = kept[-2][0], kept[-1][0]
            if (here > before) == (point[0] > here):
                kept.pop()
        kept.append(point)
    return kept


@pytest.mark.parametrize(
    ("shown", "expected"),
    [("0.2000 ms", "0.2 ms"), ("20.00 s", "20 s"), ("200", "200"), ("1.000e+12 B", "1.000e+12 B")],
)
def test_round_numbers_lose_their_zeros(shown: str, expected: str) -> None:
    assert short(shown) == expected


@given(st.lists(FINITE, max_size=60), st.integers(2, 20))
def test_thinning_keeps_the_ends_and_the_order(values: list[float], most: int) -> None:
    kept = thinned(values, most)

    assert len(kept) == min(len(values), most)
    assert kept[:1] == values[:1]
    assert kept[-1:] == values[-1:]
    left = iter(values)
    assert all(any(value == other for other in left) for value in kept)


def test_infinite_ranges_have_no_ticks() -> None:
    assert Axis(-1.7e308, 1.7e308, 0, 1).ticks(3) == []
    assert math.isfinite(Axis(-1.7e308, 1.7e308, 0, 1).at(1e308))
