"""What an interval says, and how many rounds would decide."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.advising.evidence import Finding, judge, rounds_to_decide
from perfgate.advising.quality import Cost
from perfgate.advising.ranking import Standing, standing_of
from perfgate.factors import Spread, Valued, factor
from perfgate.versus import Ratio

MARGIN, WORTH = 0.02, 0.05


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (1.03, 1.5, Finding.BETTER),
        (1.01, 1.5, Finding.UNDECIDED),
        (1.021, 1.04, Finding.BETTER),
        (1.01, 1.04, Finding.NO_GAIN),
        (0.99, 1.01, Finding.NO_GAIN),
        (0.5, 1.04, Finding.NO_GAIN),
        (0.5, 0.97, Finding.WORSE),
        (0.9, 1.2, Finding.UNDECIDED),
    ],
)
def test_intervals(low: float, high: float, finding: Finding) -> None:
    assert judge(Ratio(math.sqrt(low * high), low, high), MARGIN, WORTH) is finding


def test_without_an_interval_nothing_is_decided() -> None:
    assert judge(Ratio(3.0), MARGIN, WORTH) is Finding.UNDECIDED


@given(st.floats(0.2, 5), st.floats(1, 2), st.floats(1.0001, 2))
def test_a_narrower_interval_never_undecides(centre: float, inner: float, outer: float) -> None:
    wide = judge(Ratio(centre, centre / (inner * outer), centre * inner * outer), MARGIN, WORTH)
    narrow = judge(Ratio(centre, centre / inner, centre * inner), MARGIN, WORTH)

    assert wide is Finding.UNDECIDED or narrow is not Finding.UNDECIDED


@given(st.floats(0.5, 2), st.floats(0.001, 0.05), st.sampled_from([1, 2]))
def test_so_many_rounds_decide_an_effect_of_that_size(times: float, sd: float, df: int) -> None:
    spread = Spread(sd, df)

    rounds = rounds_to_decide(times, MARGIN, WORTH, spread, 0.95)

    assert rounds is not None
    half = math.exp(spread.half_width(rounds, 0.95))
    assert judge(Ratio(times, times / half, times * half), MARGIN, WORTH) is not Finding.UNDECIDED


def test_what_sessions_differ_by_is_decided_by_no_number_of_rounds() -> None:
    assert rounds_to_decide(1.03, MARGIN, WORTH, Spread(0.01, 2, fixed_sd=0.05), 0.95) is None


@given(st.lists(st.floats(0.5, 2), min_size=2, max_size=6), st.floats(0.5, 2))
def test_rounds_of_two_runs_are_never_told_apart_better_than_those_of_one(values: list[float], by: float) -> None:
    a, b = ([Valued(None, one * times) for one in values] for times in (1.0, by))

    one, two = (factor(a, b, apart_sd=sd).ratio for sd in (None, 0.02))

    assert one.value == pytest.approx(two.value)
    assert two.low is not None
    assert one.low is not None
    assert two.low <= one.low


def test_rounds_that_do_not_differ_leave_the_noise_of_sessions_alone() -> None:
    found = factor([Valued(None, 2.0)] * 5, [Valued(None, 1.0)] * 5, 0.95, apart_sd=0.01)

    half = 1.96 * math.sqrt(2) * 0.01
    assert found.ratio.high == pytest.approx(0.5 * math.exp(half), rel=1e-4)
    assert found.spread is not None
    assert found.spread.half_width(5, 0.95) == pytest.approx(half, rel=1e-3)


B, W, N, U = Finding.BETTER, Finding.WORSE, Finding.NO_GAIN, Finding.UNDECIDED


@pytest.mark.parametrize(
    ("findings", "cost", "may", "standing"),
    [
        ([B, N, U], Cost.WITHIN, True, Standing.TAKE),
        ([B], Cost.UNMEASURED, False, Standing.TAKE),
        ([B], Cost.UNMEASURED, True, Standing.MORE),
        ([B], Cost.UNDECIDED, False, Standing.MORE),
        ([B, W], Cost.WITHIN, True, Standing.DEPENDS),
        ([B, W], Cost.EXCEEDED, True, Standing.NOT_WITHOUT),
        ([B], Cost.EXCEEDED, True, Standing.NOT_WITHOUT),
        ([U], Cost.EXCEEDED, True, Standing.NOT_WITHOUT),
        ([U, N], Cost.WITHIN, True, Standing.MORE),
        ([N], Cost.WITHIN, True, Standing.LEAVE),
        ([N], Cost.EXCEEDED, True, Standing.LEAVE),
        ([W, U], Cost.WITHIN, False, Standing.LEAVE),
        ([B, B], Cost.BROKEN, False, Standing.LEAVE),
    ],
)
def test_standings(findings: list[Finding], cost: Cost, may: bool, standing: Standing) -> None:  # noqa: FBT001
    assert standing_of(findings, cost, may_cost_quality=may) is standing


@given(st.lists(st.sampled_from(Finding), min_size=1, max_size=5), st.sampled_from(Cost), st.booleans())
def test_nothing_is_taken_without_a_shown_gain_or_with_harm_or_a_loss_beyond_what_is_allowed(
    findings: list[Finding],
    cost: Cost,
    may: bool,  # noqa: FBT001
) -> None:
    if standing_of(findings, cost, may_cost_quality=may) is Standing.TAKE:
        assert B in findings
        assert W not in findings
        assert cost is Cost.WITHIN or (cost is Cost.UNMEASURED and not may)
