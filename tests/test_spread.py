"""Spreads with their uncertainty: known answers, invariances, and coverage on simulated rounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from perfgate.spread import (
    Spread,
    differ,
    mad_sd,
    pair_spread,
    pooled_ratio,
    round_spread,
    session_spread,
    trend,
    variance_ratio,
)

VALUES = st.lists(st.floats(-5, 5).map(lambda x: round(x, 6)), min_size=3, max_size=12)


def test_rounds_vary_about_the_mean_of_their_own_session_and_side() -> None:
    found = round_spread([[[1.0, 3.0], [11.0, 11.0]], [[101.0, 103.0], [0.0, 0.0]]])

    assert found is not None
    assert found.sd == pytest.approx(1.0)  # squares 2 + 0 + 2 + 0 over 4 degrees of freedom


def test_sides_that_move_together_tell_no_more_than_one() -> None:
    one = [0.1, -0.2, 0.3, 0.0, -0.1]

    alike, apart = round_spread([[one, one]]), round_spread([[one, [0.1, 0.1, 0.0, -0.4, 0.2]]])

    assert alike is not None
    assert apart is not None
    assert alike.df == pytest.approx(4.0)
    assert 4.0 < apart.df <= 8.0


def test_a_single_round_tells_no_spread() -> None:
    assert round_spread([[[1.0], [2.0]]]) is None
    assert pair_spread([]) is None


def test_pairs_vary_about_zero() -> None:
    found = pair_spread([0.02, 0.02, 0.02])

    assert found is not None
    assert found.sd == pytest.approx(0.02)
    assert found.df == 3


def test_a_wild_pair_widens_the_spread_but_not_the_robust_one() -> None:
    found = pair_spread([0.01, -0.01, 0.01, -0.01, 0.5])

    assert found is not None
    assert found.robust is not None
    assert found.robust == pytest.approx(0.0148, abs=1e-4)
    assert found.sd > 0.2


@given(VALUES, st.floats(-100, 100), st.floats(0.01, 100))
def test_spreads_do_not_depend_on_the_level_and_scale_with_the_unit(
    values: list[float], shift: float, scale: float
) -> None:
    assume(max(values) - min(values) > 1e-3)
    before = round_spread([[values, values[::-1]]])
    after = round_spread([[[scale * (x + shift) for x in side] for side in (values, values[::-1])]])

    assert before is not None
    assert after is not None
    assert after.sd == pytest.approx(scale * before.sd, rel=1e-6, abs=1e-6 * scale)
    assert after.df == pytest.approx(before.df, rel=1e-3)


@given(st.floats(1e-4, 1), st.floats(1, 200))
def test_an_interval_holds_its_spread_and_shrinks_with_rounds(sd: float, df: float) -> None:
    few, many = Spread(sd, df), Spread(sd, df * 2)

    assert few.low < sd < few.high
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_intervals_of_round_spreads_hold_the_truth_as_often_as_they_say(correlation: float) -> None:
    rng = np.random.default_rng(3)
    shared, own = math.sqrt(correlation), math.sqrt(1 - correlation)
    found = []
    for _ in range(1000):
        day = rng.standard_normal(6)
        sides = [list(shared * day + own * rng.standard_normal(6)) for _ in range(2)]
        found.append(round_spread([sides]))

    covered = np.mean([one.low <= 1.0 <= one.high for one in found if one])

    assert 0.86 <= covered <= 0.94


@pytest.mark.parametrize("count", [2, 3, 5, 8, 20])
def test_the_median_deviation_is_unbiased_for_few_rounds(count: int) -> None:
    rows = np.random.default_rng(5).standard_normal((4000, count))

    assert np.mean([mad_sd(row) for row in rows]) == pytest.approx(1.0, abs=0.05)


def test_sessions_that_differ_no_more_than_their_rounds_have_no_spread_of_their_own() -> None:
    same, apart = session_spread([[0.0, 1.0], [1.0, 0.0]]), session_spread([[0.0, 0.1], [5.0, 5.1]])

    assert same is not None
    assert same.sd == 0
    assert apart is not None
    assert apart.sd == pytest.approx(math.sqrt(12.5 - 0.005 / 2))


def test_one_session_tells_nothing_of_sessions() -> None:
    assert session_spread([[1.0, 2.0, 3.0]]) is None
    assert session_spread([[1.0], [2.0]]) is None


def test_a_variance_ratio_has_the_interval_of_the_f_distribution() -> None:
    found = variance_ratio(Spread(0.01, 6), Spread(0.02, 6))

    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert found.high / found.value == pytest.approx(4.2839, abs=1e-3)  # F(0.95; 6, 6)
    assert found.low / found.value == pytest.approx(1 / 4.2839, abs=1e-3)


def test_a_ratio_to_nothing_is_not_told() -> None:
    assert variance_ratio(Spread(0.01, 6), Spread(0.0, 6)) is None
    assert pooled_ratio([[(Spread(0.0, 6), Spread(0.1, 6))]]) is None


def test_engines_together_tell_more_than_one_and_its_cases_do_not() -> None:
    half = (Spread(0.01, 6), Spread(0.02, 6))

    one, cases, engines = pooled_ratio([[half]]), pooled_ratio([[half] * 4]), pooled_ratio([[half]] * 4)

    assert one is not None
    assert cases is not None
    assert engines is not None
    assert one.value == cases.value == engines.value == pytest.approx(0.25)
    assert one.high == cases.high > 1 > engines.high


def test_pooled_ratios_of_nothing_changed_alarm_as_often_as_they_say() -> None:
    rng = np.random.default_rng(9)
    found = [
        pooled_ratio([[(Spread(float(a), 6), Spread(float(b), 6))] for a, b in np.sqrt(rng.chisquare(6, (3, 2)) / 6)])
        for _ in range(1000)
    ]

    assert np.mean([one.low > 1 or one.high < 1 for one in found if one]) == pytest.approx(0.1, abs=0.03)


def test_summaries_that_scatter_alike_are_rarely_told_apart_and_others_are() -> None:
    rng = np.random.default_rng(11)
    rows = rng.standard_normal((2000, 2, 8))

    alike = np.mean([differ(list(a), list(b)) < 0.05 for a, b in rows])
    apart = np.mean([differ(list(0.1 * a), list(b)) < 0.05 for a, b in rows])

    assert alike == pytest.approx(0.05, abs=0.02)
    assert apart > 0.95


def test_summaries_of_too_few_pairs_are_not_told_apart() -> None:
    assert differ([0.1], [0.2]) == 1.0
    assert differ([0.0, 0.0], [0.0, 0.0]) == 1.0


def test_a_drift_is_found_and_its_rest_has_no_correlation() -> None:
    values = [0.01 * i + (0.001 if i % 2 else -0.001) for i in range(12)]

    found = trend(values)

    assert found is not None
    assert found.is_drift
    assert found.drift == pytest.approx(0.11, abs=0.002)
    assert found.lag1 < 0


def test_chance_is_seldom_called_a_drift() -> None:
    rows = np.random.default_rng(13).standard_normal((1000, 12))

    found = [trend(list(row)) for row in rows]

    assert np.mean([one.is_drift for one in found if one]) == pytest.approx(0.01, abs=0.012)


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0] * 12])
def test_without_rounds_or_spread_there_is_no_trend(values: list[float]) -> None:
    assert trend(values) is None
