from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perfgate.versus import COMPARED, About, Result, Side, compare_sides, geometric_mean, ratio

VALUES = st.floats(1e-6, 1e6)
ROUNDS = st.lists(VALUES, min_size=2, max_size=8)
FACTORS = st.floats(1e-3, 1e3)


def result(level: int, number: int, value: float | None, invalid: tuple[str, ...] = ()) -> Result:
    values = {} if value is None else {metric.name: value for metric in COMPARED}
    return Result(Path("x"), number, level, values, {}, invalid, About({}))


def side(name: str, *results: Result) -> Side:
    return Side(name, Path(name), results)


@given(ROUNDS, ROUNDS, FACTORS)
def test_scaling_one_side_scales_ratio_and_interval_by_the_same(a: list[float], b: list[float], factor: float) -> None:
    before, after = ratio(a, b), ratio(a, [value * factor for value in b])

    assert before.low is not None
    assert before.high is not None
    assert after.low is not None
    assert after.high is not None
    assert after.value == pytest.approx(before.value * factor, rel=1e-9)
    assert math.log(after.value / after.low) == pytest.approx(math.log(before.value / before.low), rel=1e-6, abs=1e-9)


@given(ROUNDS, ROUNDS)
def test_swapping_the_sides_inverts_the_ratio_and_turns_its_interval_round(a: list[float], b: list[float]) -> None:
    one, other = ratio(a, b), ratio(b, a)

    assert one.low is not None
    assert other.high is not None
    assert other.value == pytest.approx(1 / one.value, rel=1e-9)
    assert math.log(other.high) == pytest.approx(-math.log(one.low), rel=1e-6, abs=1e-9)


@given(ROUNDS, ROUNDS)
def test_the_interval_contains_the_ratio(a: list[float], b: list[float]) -> None:
    one = ratio(a, b)

    assert one.low is not None
    assert one.high is not None
    assert one.low <= one.value <= one.high


@given(ROUNDS, ROUNDS)
def test_the_ratio_is_that_of_the_figures_shown(a: list[float], b: list[float]) -> None:
    assert ratio(a, b).value == pytest.approx(geometric_mean(b) / geometric_mean(a), rel=1e-9)


def test_the_interval_is_welchs() -> None:
    a, b = [10.0, 11.0, 10.5, 9.8], [5.0, 5.6, 4.9]
    log_a, log_b = [math.log(x) for x in a], [math.log(x) for x in b]

    expected = stats.ttest_ind(log_b, log_a, equal_var=False).confidence_interval(0.95)

    found = ratio(a, b)
    assert (found.low, found.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0]), ([1.0, 1.1, 0.9], [2.0]), ([1.0], [2.0, 2.1])])
def test_a_side_with_one_round_has_no_interval(a: list[float], b: list[float]) -> None:
    found = ratio(a, b)

    assert (found.low, found.high, found.is_different) == (None, None, False)
    assert found.value == pytest.approx(2.0, rel=0.1)


def test_rounds_that_do_not_differ_have_an_interval_of_no_width() -> None:
    found = ratio([2.0, 2.0], [1.0, 1.0])

    assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.is_different


def test_an_interval_around_one_shows_no_difference() -> None:
    assert not ratio([1.0, 1.2, 0.8], [1.1, 0.9, 1.05]).is_different


def test_invalid_rounds_take_no_part() -> None:
    a = side("a", result(16, 1, 2.0), result(16, 2, 2.0))
    b = side("b", result(16, 1, 1.0), result(16, 2, None, ("the client was the limit",)))

    found = compare_sides([a, b])

    cell = found.cell("ttft_mean", 16, "b")
    assert cell.values == (1.0,)
    assert cell.ratio is not None
    assert cell.ratio.low is None
    assert [(one.name, run.round) for one, run in found.invalid] == [("b", 2)]


def test_what_is_not_there_is_listed_and_not_compared() -> None:
    a = side("a", result(16, 1, 2.0), result(16, 2, 2.0), result(64, 1, 2.0))
    b = side("b", result(16, 1, 1.0))

    found = compare_sides([a, b])

    assert found.missing == ["a: concurrency 64 has no round 2", "b: nothing at concurrency 64"]
    assert found.cell("ttft_mean", 64, "b").ratio is None


def test_absent_metrics_are_told_once_with_their_first_place() -> None:
    gap = {"itl_p99": "p99_itl_ms is not in the file"}
    runs = [Result(Path("x"), 1, level, {"ttft_mean": 1.0}, gap, (), About({})) for level in (16, 64)]

    found = compare_sides([side("a", *runs), side("b", result(16, 1, 1.0), result(64, 1, 1.0))])

    assert found.missing == ["a: p99_itl_ms is not in the file (round 1, concurrency 16 and 1 more)"]


def test_a_side_without_a_valid_round_has_gaps_with_their_reasons() -> None:
    a = side("a", result(16, 1, 2.0), result(64, 1, None, ("too late",)))
    b = side("b", result(16, 1, None, ("the client was the limit",)), result(16, 2, 1.0), result(64, 1, 1.0))

    found = compare_sides([a, b])

    assert found.gaps("b", 16) == []
    assert found.gaps("b", 64) == ["a: round 1, concurrency 64: too late"]
    assert found.gaps("b", 128) == ["a: nothing at concurrency 128", "b: nothing at concurrency 128"]
    assert found.gaps("c", 16) == ["c: nothing was measured"]


def test_every_side_is_compared_with_the_first() -> None:
    found = compare_sides([side(name, result(8, 1, value)) for name, value in (("a", 4.0), ("b", 2.0), ("c", 1.0))])

    assert {cell.side: cell.ratio.value for cell in found.cells if cell.ratio} == pytest.approx({"b": 0.5, "c": 0.25})
