"""The statistics: agreement with references, invariances, and error rates on simulated rounds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perfgate.evidence import PRIOR_DF, Store, learn, stack, store_of_pairs, weigh
from perfgate.judge import ROBUST_SLACK
from perfgate.suite import Noise

NOISE = Noise(round_sd=0.02, session_sd=0.02, pair_sd=0.05)
ONE = np.ones(1)


def _store(level: float = 0.0, round_sd: float = 0.02, day_sd: float = 0.01, df: float = 8.0) -> Store:
    return Store(level * ONE, round_sd**2 * ONE, day_sd**2 * ONE, df * ONE)


def _reference(store: Store, y: list[float], delta: float) -> float:
    """Log-density of y at a slowdown of delta: scipy's multivariate t with the covariance written out."""
    n = len(y)
    lam = store.day_var[0] / store.round_var[0]
    shape = store.round_var[0] * (np.eye(n) + lam * np.ones((n, n)))
    return float(stats.multivariate_t(np.full(n, store.level[0] + delta), shape, df=store.df[0]).logpdf(y))


def test_evidence_is_the_ratio_of_multivariate_t_densities() -> None:
    store, y = _store(level=0.3), [0.33, 0.41, 0.38]
    margin, detect = 0.02, 0.05

    found = weigh(store, [np.array(y)], margin * ONE, detect * ONE)

    alternatives = [_reference(store, y, factor * detect) for factor in (1.0, 1.5, 2.5, 5.0)]
    expected = np.logaddexp.reduce(alternatives) - math.log(4) - _reference(store, y, margin)
    assert found.worse[0] == pytest.approx(expected)


def test_leaving_out_a_round_is_weighing_without_it() -> None:
    store, y = _store(), [0.01, 0.09, 0.02]

    robust = weigh(store, [np.array(y)], 0.02 * ONE, 0.05 * ONE).worse_robust[0]

    without = [weigh(store, [np.delete(np.array(y), j)], 0.02 * ONE, 0.05 * ONE).worse[0] for j in range(3)]
    assert robust == pytest.approx(min(without))


def test_no_rounds_are_no_evidence() -> None:
    found = weigh(_store(), [np.array([])], 0.02 * ONE, 0.05 * ONE)

    assert (found.worse[0], found.fine[0], found.count[0]) == (0.0, 0.0, 0.0)


@given(st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=12), st.floats(-3, 3))
def test_the_scale_of_a_metric_does_not_matter(values: list[float], shift: float) -> None:
    """A factor on all values of a metric is a shift of logs: of the level and of the rounds."""
    here = weigh(_store(0.0), [np.array(values)], 0.02 * ONE, 0.05 * ONE)
    there = weigh(_store(shift), [np.array(values) + shift], 0.02 * ONE, 0.05 * ONE)

    assert there.worse[0] == pytest.approx(here.worse[0], abs=1e-6)
    assert there.fine[0] == pytest.approx(here.fine[0], abs=1e-6)


@given(st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=12))
def test_better_mirrors_worse(values: list[float]) -> None:
    here = weigh(_store(), [np.array(values)], 0.02 * ONE, 0.05 * ONE)
    mirrored = weigh(_store(), [-np.array(values)], 0.02 * ONE, 0.05 * ONE)

    assert mirrored.better[0] == pytest.approx(here.worse[0])
    assert mirrored.better_robust[0] == pytest.approx(here.worse_robust[0])


def test_metrics_are_weighed_independently_of_each_other() -> None:
    rows = [np.array([0.01, 0.02]), np.array([0.2, 0.21, 0.19, 0.2])]
    both = Store(*(np.concatenate([part, part]) for part in (ONE * 0, ONE * 4e-4, ONE * 1e-4, ONE * 8)))

    together = weigh(both, rows, np.full(2, 0.02), np.full(2, 0.05))

    alone = [weigh(_store(), [row], 0.02 * ONE, 0.05 * ONE).worse[0] for row in rows]
    assert together.worse == pytest.approx(alone)


def test_learning_pools_rounds_within_sessions_and_the_prior() -> None:
    level, round_var, day_var, df = learn(np.array([0.0, 0.02, 0.1, 0.12]), [2, 2], NOISE)

    assert level == pytest.approx(0.06)
    assert df == PRIOR_DF + 2
    assert round_var == pytest.approx((PRIOR_DF * 0.02**2 + 4 * 0.01**2) / df)
    assert day_var > 0.02**2


def test_the_day_variance_is_that_of_one_step_errors() -> None:
    means = np.random.default_rng(3).normal(0, 0.1, 40)

    _, _, day_var, _ = learn(np.repeat(means, 2), [2] * 40, NOISE)

    errors = [means[i] - np.median(means[max(0, i - 10) : i]) for i in range(1, 40)]
    round_var = 4 * 0.02**2 / (4 + 40)
    expected = (4 * 0.02**2 + sum(e**2 for e in errors) - 39 * round_var / 2) / (4 + 39) + round_var / 20
    assert day_var == pytest.approx(expected)


def _gates(rng: np.random.Generator, change: float, sd: float, count: int, *, heavy: bool) -> tuple[float, float]:
    """Shares of metrics that a sequential gate of at most 12 pairs calls worse, and ok, at M = 54."""
    noise = rng.standard_t(3, (count, 12)) / math.sqrt(3) if heavy else rng.standard_normal((count, 12))
    differences = change + sd * noise
    margin, detect = np.full(count, math.log(1.05)), np.full(count, math.log(1.20))
    red, fine = np.zeros(count, bool), np.zeros(count, bool)
    for pairs in range(3, 13):
        found = weigh(store_of_pairs(count, NOISE), list(differences[:, :pairs]), margin, detect)
        bar = math.log(54 / 0.01)
        undecided = ~(red | fine)
        red |= undecided & (found.worse >= bar) & (found.worse_robust >= bar - ROBUST_SLACK)
        fine |= undecided & ~red & (found.fine >= math.log(2 / 0.01))
    return float(red.mean()), float(fine.mean())


@pytest.mark.parametrize("sd", [0.01, 0.05, 0.10, 0.25, 0.50])
@pytest.mark.parametrize("heavy", [False, True])
def test_an_unchanged_metric_alarms_no_more_than_promised(sd: float, *, heavy: bool) -> None:
    """Also where the noise is ten times the stated 5 %."""
    red, _ = _gates(np.random.default_rng(7), 0.0, sd, 20_000, heavy=heavy)

    # alpha/M is 1.9e-4 a metric: 3.7 of 20,000 expected at most. 12 bounds that with probability 0.9998.
    assert red * 20_000 <= 12


@pytest.mark.parametrize("heavy", [False, True])
def test_a_slowdown_of_25_percent_is_found(*, heavy: bool) -> None:
    red, fine = _gates(np.random.default_rng(8), math.log(1.25), 0.05, 4_000, heavy=heavy)

    assert red >= 0.97
    assert fine <= 0.01


@pytest.mark.parametrize("sd", [0.02, 0.05, 0.10])
def test_a_worsening_of_the_promised_size_is_rarely_called_ok(sd: float) -> None:
    _, fine = _gates(np.random.default_rng(9), math.log(1.20), sd, 10_000, heavy=False)

    assert fine <= 0.01


def test_a_quiet_unchanged_metric_is_acquitted_at_the_first_look() -> None:
    _, fine = _gates(np.random.default_rng(10), 0.0, 0.02, 4_000, heavy=False)

    assert fine >= 0.999


def test_stacking_keeps_the_order_of_metrics() -> None:
    store = stack([(1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)])

    assert store.level.tolist() == [1.0, 5.0]
    assert store.df.tolist() == [4.0, 8.0]
