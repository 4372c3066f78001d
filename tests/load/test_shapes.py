from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.errors import UsageError
from perfgate.load.ask import Ask
from perfgate.load.shapes import Arrivals, Count, Rate, asks_for, at_rate, closed, due_times, replay, steps

COUNTS = st.integers(1, 3000)
RATES = st.floats(0.01, 10_000)
SEEDS = st.integers(0, 2**32)
ARRIVALS = st.sampled_from(Arrivals)


def asks(count: int) -> list[Ask]:
    return [Ask({"prompt": [number]}, 1, 1) for number in range(count)]


@given(COUNTS, RATES, RATES, ARRIVALS, SEEDS)
def test_due_times_ascend_within_the_span_and_a_seed_reproduces_them(
    count: int, start: float, end: float, arrivals: Arrivals, seed: int
) -> None:
    rate = Rate(start, end, arrivals)

    due = due_times(rate, count, seed)

    assert due.shape == (count,)
    assert np.all(np.diff(due) >= 0)
    assert due[0] >= 0
    assert due[-1] <= rate.span_s(count) * (1 + 1e-9)
    assert np.array_equal(due, due_times(rate, count, seed))


@given(COUNTS, RATES)
def test_constant_arrivals_are_one_over_the_rate_apart_from_zero(count: int, per_s: float) -> None:
    due = due_times(Rate.steady(per_s, Arrivals.CONSTANT), count, 0)

    assert np.allclose(due, np.arange(count) / per_s, rtol=1e-9)


@given(SEEDS)
def test_poisson_gaps_are_exponential_and_the_rate_is_the_one_asked_for(seed: int) -> None:
    due = due_times(Rate.steady(40.0), 4000, seed)

    gaps = np.diff(due)
    assert abs(due[-1] - 100.0) < 1.0  # the last of 4000 requests lies some 25 ms from the end
    assert abs(gaps.std() / gaps.mean() - 1) < 0.2  # an exponential's standard deviation is its mean
    assert abs((gaps > gaps.mean()).mean() - math.exp(-1)) < 0.05


def test_seeds_differ() -> None:
    rate = Rate.steady(10.0)

    assert not np.array_equal(due_times(rate, 50, 1), due_times(rate, 50, 2))


@given(RATES, RATES)
def test_a_ramp_begins_and_ends_at_its_rates(start: float, end: float) -> None:
    count = 10_000
    rate = Rate(start, end, Arrivals.CONSTANT)

    due = due_times(rate, count, 0)

    slope = (end - start) / rate.span_s(count)
    passed = start * due + slope * due**2 / 2  # the integral of the rate
    assert np.allclose(passed, np.arange(count), rtol=1e-6, atol=1e-3)


def test_an_infinite_rate_makes_everything_due_at_once() -> None:
    plan = at_rate(asks(5), Rate.steady(math.inf), seed=0, warmup=2)

    assert [ask.due_s for ask in plan.asks] == [0.0] * 5


@pytest.mark.parametrize("rate", [Rate(0, 1), Rate(1, 0), Rate(-1, 1), Rate(math.nan, 1), Rate(1, math.inf)])
def test_a_rate_that_is_none_is_refused(rate: Rate) -> None:
    with pytest.raises(UsageError, match="rate"):
        due_times(rate, 3, 0)


@given(st.integers(2, 500), RATES, RATES, ARRIVALS, st.data())
def test_warm_up_comes_before_at_the_rate_that_follows(
    count: int, start: float, end: float, arrivals: Arrivals, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, count - 1))
    rate = Rate(start, end, arrivals)

    plan = at_rate(asks(count), rate, seed=7, warmup=warmup)

    due = [ask.due_s or 0.0 for ask in plan.asks]
    assert due == sorted(due)
    assert plan.warmup == warmup
    assert all(at < warmup / start for at in due[:warmup])
    assert due[warmup] >= warmup / start
    assert np.allclose(
        np.array(due[warmup:]) - warmup / start, due_times(rate, count - warmup, 7), rtol=1e-9, atol=1e-6 / start
    )


def test_an_open_loop_has_no_limit_but_may_be_given_one() -> None:
    rate = Rate.steady(1.0)

    assert at_rate(asks(3), rate, 0).concurrency is None
    assert at_rate(asks(3), rate, 0, concurrency=2).concurrency == 2


def test_a_closed_loop_keeps_the_order_and_has_no_due_times() -> None:
    plan = closed([Ask({"prompt": "a"}, 1, 1, due_s=3.0), *asks(3)], 2, warmup=1)

    assert plan.concurrency == 2
    assert plan.warmup == 1
    assert [ask.due_s for ask in plan.asks] == [None] * 4
    assert plan.asks[0].body == {"prompt": "a"}


@pytest.mark.parametrize(("concurrency", "warmup"), [(0, 0), (-1, 0), (1, 3), (1, 4), (1, -1)])
def test_a_closed_loop_that_cannot_be_is_refused(concurrency: int, warmup: int) -> None:
    with pytest.raises(UsageError):
        closed(asks(3), concurrency, warmup)


def test_steps_take_the_asks_one_after_the_other() -> None:
    requests, warmup = Count.parse("3x"), Count.parse("1x")
    wanted = asks_for([1, 2, 4], requests, warmup)

    plans = steps(asks(wanted), [1, 2, 4], requests, warmup)

    assert wanted == 28
    assert [(plan.concurrency, len(plan.asks), plan.warmup) for plan in plans] == [(1, 4, 1), (2, 8, 2), (4, 16, 4)]
    assert [ask.body["prompt"][0] for plan in plans for ask in plan.asks] == list(range(28))


def test_steps_without_enough_asks_are_refused() -> None:
    with pytest.raises(UsageError, match="take 12 requests, there are 11"):
        steps(asks(11), [1, 2], Count.parse("4x"), Count.parse("0"))


def test_a_trace_is_replayed_as_it_is() -> None:
    plan = replay([Ask({}, 1, 1, 0.0), Ask({}, 1, 1, 0.5), Ask({}, 1, 1, 0.5)], warmup=1)

    assert [ask.due_s for ask in plan.asks] == [0.0, 0.5, 0.5]
    assert plan.concurrency is None
    assert plan.warmup == 1


@pytest.mark.parametrize("due", [(1.0, 0.5), (0.0, None), (-1.0, 0.0), (0.0, math.inf), (math.nan, 1.0)])
def test_due_times_that_do_not_ascend_are_refused(due: tuple[float | None, ...]) -> None:
    with pytest.raises(UsageError, match="is due at"):
        replay([Ask({}, 1, 1, at) for at in due])


@given(st.integers(0, 9999), st.integers(1, 500))
def test_a_count_is_plain_or_times_the_concurrency(number: int, concurrency: int) -> None:
    assert Count.parse(str(number)).of(concurrency) == number
    assert Count.parse(str(number)).of(None) == number
    assert Count.parse(f"{number}x").of(concurrency) == number * concurrency


def test_a_part_of_a_request_counts_as_one() -> None:
    assert Count.parse("2.5x").of(1) == 3


@pytest.mark.parametrize("text", ["", "x", "-5", "5 x", "1e9", "5X", "inf", "0x10", "1.5", "٣"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number of requests"):
        Count.parse(text)


def test_a_multiple_of_no_concurrency_is_refused() -> None:
    with pytest.raises(UsageError, match="no limit here"):
        Count.parse("5x").of(None)


def test_too_many_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="too many"):
        Count.parse("99999x").of(1000)
