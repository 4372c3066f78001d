"""The evidence: agreement with references, invariances, and error rates on simulated rounds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from perfgate.evidence import BETWEEN, FINE, FINE_MARGIN, WORSE, Evidence, padded, weigh
from perfgate.levels import GRID, TwoLevels
from perfgate.noise import Store, store_of_pairs
from perfgate.noisy import EDGE, ROBUST_SLACK
from perfgate.terms import Noise

NOISE = Noise(round_sd=0.02, session_sd=0.02, pair_sd=0.05)
ONE = np.ones(1)
MARGIN, DETECT = 0.02, 0.05


def _store(
    level: float = 0.0, round_sd: float = 0.02, day_sd: float = 0.01, df: float = 8.0, doubt: float = 0.0
) -> Store:
    return Store(level * ONE, round_sd**2 * ONE, df * ONE, day_sd**2 * ONE, 8 * ONE, 0 * ONE, doubt * ONE)


def _weigh(store: Store, a: list[float], b: list[float], **levels: TwoLevels) -> Evidence:
    rows_a, rows_b = (np.array([side], dtype=float).reshape(1, -1) for side in (a, b))
    return weigh(store, rows_a, rows_b, MARGIN * ONE, DETECT * ONE, {0: levels["levels"]} if levels else None)


def _reference(store: Store, a: list[float], b: list[float], delta: float) -> float:
    """Log-density of all rounds at a slowdown of delta: scipy's multivariate t with the covariance written out."""
    n = len(a) + len(b)
    lam = store.day_var[0] / store.round_var[0]
    shape = store.round_var[0] * (np.eye(n) + lam * np.ones((n, n)))
    centre = store.level[0] + np.array([0.0] * len(a) + [delta] * len(b))
    return float(stats.multivariate_t(centre, shape, df=store.df[0]).logpdf(a + b))


def _mixture(store: Store, a: list[float], b: list[float], parts: list[tuple[float, float]]) -> float:
    return float(np.logaddexp.reduce([_reference(store, a, b, d) + math.log(weight) for d, weight in parts]))


@pytest.mark.parametrize("a", [[], [0.31, 0.28]])
def test_evidence_is_the_ratio_of_multivariate_t_densities(a: list[float]) -> None:
    store, b = _store(level=0.3), [0.33, 0.41, 0.38]

    found = _weigh(store, a, b)

    worse = [(k * DETECT, weight) for k, weight in WORSE.items()] + [((MARGIN + DETECT) / 2, BETWEEN)]
    assert found.worse[0] == pytest.approx(_mixture(store, a, b, worse) - _reference(store, a, b, 0.0))
    assert found.beyond[0] == pytest.approx(_mixture(store, a, b, worse) - _reference(store, a, b, MARGIN))
    fine = [(k * DETECT, weight) for k, weight in FINE.items()] + [(MARGIN, FINE_MARGIN)]
    assert found.fine[0] == pytest.approx(_mixture(store, a, b, fine) - _reference(store, a, b, DETECT))


def test_the_weights_of_each_mixture_come_to_one() -> None:
    assert sum(WORSE.values()) + BETWEEN == pytest.approx(1)
    assert sum(FINE.values()) + FINE_MARGIN == pytest.approx(1)


def test_leaving_out_a_round_is_weighing_without_it() -> None:
    store, a, b = _store(), [0.0, 0.01], [0.01, 0.09, 0.02]

    robust = _weigh(store, a, b).worse_robust[0]

    without = [_weigh(store, a, b[:j] + b[j + 1 :]).worse[0] for j in range(3)]
    assert robust == pytest.approx(min(without))


def test_no_rounds_are_no_evidence() -> None:
    found = _weigh(_store(), [], [])

    assert (found.worse[0], found.fine[0], found.rounds_b[0]) == (pytest.approx(0), pytest.approx(0), 0)
    assert found.worse_robust[0] == -math.inf


def test_a_slower_day_is_no_slower_engine() -> None:
    """Both engines 30 % above the stored level: nothing is wrong with the candidate."""
    found = _weigh(_store(doubt=0.02), [0.30, 0.31, 0.29, 0.30], [0.30, 0.29, 0.31, 0.30])

    assert found.change[0] == pytest.approx(0, abs=0.02)
    assert found.worse[0] < 1 < found.fine[0]


def test_the_estimate_is_the_generalised_least_squares_one() -> None:
    store, a, b = _store(level=0.1, day_sd=0.03), [0.12, 0.15], [0.2, 0.22, 0.19]

    found = _weigh(store, a, b)

    cov = store.round_var[0] * np.eye(5) + store.day_var[0] * np.ones((5, 5))
    design, y = np.array([0.0, 0, 1, 1, 1]), np.array(a + b) - 0.1
    precision = design @ np.linalg.solve(cov, design)
    assert found.change[0] == pytest.approx(design @ np.linalg.solve(cov, y) / precision)
    scale = found.error[0] ** 2 * precision  # the posterior scale of the variances
    residual = y - design * found.change[0]
    assert scale == pytest.approx((store.df[0] + residual @ np.linalg.solve(cov, residual)) / (store.df[0] + 4))


@given(st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=12), st.floats(-3, 3))
def test_the_scale_of_a_metric_does_not_matter(values: list[float], shift: float) -> None:
    """A factor on all values of a metric is a shift of logs: of the level and of the rounds."""
    here = _weigh(_store(0.0), values[:1], values)
    there = _weigh(_store(shift), [values[0] + shift], [value + shift for value in values])

    assert there.worse[0] == pytest.approx(here.worse[0], abs=1e-6)
    assert there.fine[0] == pytest.approx(here.fine[0], abs=1e-6)


@given(st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=12))
def test_better_mirrors_worse(values: list[float]) -> None:
    here = _weigh(_store(), [0.01], values)
    mirrored = _weigh(_store(), [-0.01], [-value for value in values])

    assert mirrored.better[0] == pytest.approx(here.worse[0])
    assert mirrored.better_robust[0] == pytest.approx(here.worse_robust[0])
    assert mirrored.better_beyond[0] == pytest.approx(here.beyond[0])


@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=6), st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=6))
def test_a_slower_round_never_speaks_for_the_candidate(a: list[float], b: list[float]) -> None:
    """With the variance all but known, more time taken by a candidate round is more evidence against it."""
    store = _store(df=1e6)

    slower = _weigh(store, a, [*b[:-1], b[-1] + 0.05])

    assert slower.change[0] > _weigh(store, a, b).change[0]
    assert slower.worse[0] >= _weigh(store, a, b).worse[0] - 1e-6


def test_metrics_are_weighed_independently_of_each_other() -> None:
    rows = [np.array([0.01, 0.02]), np.array([0.2, 0.21, 0.19, 0.2])]
    both = Store(*(np.full(2, part) for part in (0.0, 4e-4, 8.0, 1e-4, 8.0, 0.0, 0.0)))

    together = weigh(
        both, padded([np.array([0.01]), np.array([])]), padded(rows), np.full(2, MARGIN), np.full(2, DETECT)
    )

    alone = [_weigh(_store(), [0.01], [0.01, 0.02]), _weigh(_store(), [], [0.2, 0.21, 0.19, 0.2])]
    assert together.worse == pytest.approx([one.worse[0] for one in alone])
    assert together.worse_robust == pytest.approx([one.worse_robust[0] for one in alone])


def test_one_wild_round_of_the_baselines_engine_acquits_nobody() -> None:
    """It makes the candidate look better than the baseline, and 'not worse' certain; without it nothing is."""
    found = _weigh(_store(round_sd=0.008, day_sd=0.006, df=30.0, doubt=0.02), [0.13], [0.05])

    assert found.fine[0] > math.log(1000)
    assert found.fine_robust[0] < 0


def test_without_rounds_of_the_baselines_engine_there_is_none_to_leave_out() -> None:
    found = _weigh(_store(), [], [0.0, 0.01])

    assert found.fine_robust == pytest.approx(found.fine)


# ------------------------------------------------------------------ two levels

LEVELS = TwoLevels(low=-0.06, gap=0.20, slow_share=0.3, sd=0.01, df=50.0, day_sd=0.005)


def test_with_two_levels_a_slow_mode_is_no_slowdown() -> None:
    fast, slow = -0.06, 0.14
    same = _weigh(_store(), [fast, slow, fast, fast], [slow, fast, slow, fast], levels=LEVELS)

    assert same.worse[0] < math.log(100) < same.fine[0]


def test_with_two_levels_a_shift_of_both_is_found() -> None:
    fast, slow = -0.06, 0.14
    shifted = [fast + 0.05, slow + 0.05, fast + 0.05, fast + 0.05]
    found = _weigh(_store(), [fast, slow, fast, fast], shifted, levels=LEVELS)

    assert found.worse[0] > math.log(12_000)
    assert found.change[0] == pytest.approx(0.05, abs=0.01)


def test_with_two_levels_a_slower_day_is_no_slowdown() -> None:
    """Both engines 5 % above both stored levels: far more than sessions differed so far."""
    fast, slow = -0.06 + 0.05, 0.14 + 0.05

    found = _weigh(_store(doubt=0.02), [fast, slow, fast, fast], [slow, fast, fast, slow], levels=LEVELS)

    assert found.worse[0] < math.log(20)


@pytest.mark.parametrize("looks", [[0.14], [0.14, 0.15, 0.13], [0.14, 0.14, 0.15, 0.13, 0.14]])
def test_candidate_rounds_that_are_all_slow_acquit_nobody(looks: list[float]) -> None:
    """They may be fast ones of an engine that is slower by the gap; 5 % worse would not explain them, 22 % would."""
    found = _weigh(_store(), [-0.06, -0.05, 0.14], looks, levels=LEVELS)

    assert found.fine[0] < 0
    assert found.worse[0] < math.log(12_000)


def test_a_fast_round_refutes_a_slowdown_of_the_gap() -> None:
    found = _weigh(_store(), [-0.06, -0.05, 0.14], [0.14, 0.15, -0.06], levels=LEVELS)

    assert found.fine[0] > math.log(250)


@st.composite
def _on_two_levels(draw: st.DrawFn) -> tuple[TwoLevels, list[float], list[float]]:
    """Levels, and rounds of both sides on them, the candidate's slower or faster by anything."""
    gap, share = draw(st.floats(-0.25, 0.25).filter(lambda gap: abs(gap) > 0.08)), draw(st.floats(0.1, 0.9))
    levels = TwoLevels(low=-0.3 * gap, gap=gap, slow_share=share, sd=0.02, df=30.0, day_sd=0.01)
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    a, b = (
        levels.low + gap * (rng.random(count) < share) + 0.02 * rng.standard_normal(count)
        for count in (draw(st.integers(0, 4)), draw(st.integers(1, 5)))
    )
    change = draw(st.sampled_from([0.0, gap, -gap])) + draw(st.floats(-0.1, 0.1))
    return levels, list(a), list(b + change)


@settings(max_examples=40)
@given(_on_two_levels())
def test_all_of_a_side_is_refuted_not_only_its_bound(drawn: tuple[TwoLevels, list[float], list[float]]) -> None:
    """'Not worse' holds against each worsening of `detect` or more as strongly as is said; 'worse' likewise."""
    levels, a, b = drawn
    found = _weigh(_store(), a, b, levels=levels)
    tried = np.linspace(0.0, 0.7, 90)
    fine = [(k * DETECT, weight) for k, weight in FINE.items()] + [(MARGIN, FINE_MARGIN)]
    worse = [(k * DETECT, weight) for k, weight in WORSE.items()] + [((MARGIN + DETECT) / 2, BETWEEN)]

    def fit(slowdown: float) -> float:
        return float(levels.log_likelihood(np.array(a), np.array(b) - slowdown)[0])

    def against(parts: list[tuple[float, float]], nulls: NDArray[np.float64]) -> float:
        mixed = np.logaddexp.reduce([fit(d) + math.log(weight) for d, weight in parts])
        return float(mixed - max(fit(null) for null in nulls))

    for said, parts, nulls in (
        (found.fine[0], fine, DETECT + tried),
        (found.worse[0], worse, -tried),
        (found.beyond[0], worse, MARGIN - tried),
        (found.better[0], [(-d, weight) for d, weight in worse], tried),
    ):
        assert said <= max(against(parts, nulls) + GRID**2 / 8 + 0.1, 0.0)  # at most 0: it tells for nothing anyway


def test_levels_that_coincide_are_one_level() -> None:
    """With no gap the numerical integral must agree with the closed form."""
    one = TwoLevels(low=0.0, gap=0.0, slow_share=0.5, sd=0.02, df=1e5, day_sd=0.01)
    a, b = [0.01, -0.02], [0.05, 0.06, 0.04]

    assert _weigh(_store(df=1e5), a, b, levels=one).worse[0] == pytest.approx(
        _weigh(_store(df=1e5), a, b).worse[0], rel=0.01
    )


# ------------------------------------------------------------------ error rates on pairs


def _gates(rng: np.random.Generator, change: float, sd: float, count: int, *, heavy: bool) -> tuple[float, float]:
    """Shares of metrics that a sequential gate of at most 12 pairs calls worse, and ok, at M = 54."""
    noise = rng.standard_t(3, (count, 12)) / math.sqrt(3) if heavy else rng.standard_normal((count, 12))
    differences: NDArray[np.float64] = change + sd * noise
    margin, detect = np.full(count, math.log(1.05)), np.full(count, math.log(1.20))
    red, fine = np.zeros(count, bool), np.zeros(count, bool)
    for pairs in range(3, 13):
        open_ = np.flatnonzero(~(red | fine))
        rows = differences[open_, :pairs]
        store = store_of_pairs(len(open_), NOISE)
        found = weigh(store, np.empty((len(open_), 0)), rows, margin[open_], detect[open_])
        bar = math.log(54 / 0.005)
        is_red = (found.worse >= bar) & (found.worse_robust >= bar - ROBUST_SLACK) & (found.beyond >= EDGE)
        red[open_] = is_red
        fine[open_] = ~is_red & (found.fine >= math.log(2 / 0.004))
    return float(red.mean()), float(fine.mean())


@pytest.mark.parametrize("sd", [0.01, 0.05, 0.10, 0.25, 0.50])
@pytest.mark.parametrize("heavy", [False, True])
def test_an_unchanged_metric_alarms_no_more_than_promised(sd: float, *, heavy: bool) -> None:
    """Also where the noise is ten times the stated 5 %."""
    red, _ = _gates(np.random.default_rng(7), 0.0, sd, 20_000, heavy=heavy)

    # alpha/M is 9.3e-5 a metric: 1.9 of 20,000 expected at most. 10 bounds that with probability 0.99998.
    assert red * 20_000 <= 10


@pytest.mark.parametrize("heavy", [False, True])
def test_a_slowdown_of_25_percent_is_found(*, heavy: bool) -> None:
    red, fine = _gates(np.random.default_rng(8), math.log(1.25), 0.05, 4_000, heavy=heavy)

    assert red >= 0.97
    assert fine <= 0.006


@pytest.mark.parametrize("sd", [0.02, 0.05, 0.10])
def test_a_worsening_of_the_promised_size_is_rarely_called_ok(sd: float) -> None:
    _, fine = _gates(np.random.default_rng(9), math.log(1.20), sd, 10_000, heavy=False)

    assert fine <= 0.006


def test_a_change_of_the_margins_size_is_red_once_in_twenty_at_most() -> None:
    red, _ = _gates(np.random.default_rng(11), math.log(1.05), 0.01, 4_000, heavy=False)

    assert red <= 0.05


def test_a_quiet_unchanged_metric_is_acquitted_at_the_first_look() -> None:
    _, fine = _gates(np.random.default_rng(10), 0.0, 0.02, 4_000, heavy=False)

    assert fine >= 0.999
