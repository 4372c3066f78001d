"""What is learnt of noise: agreement with simulated truth, invariances, and what little data leads to."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from perfgate.noise import (
    FEW_METRICS,
    MOST_SESSIONS,
    PRIOR_DF,
    UNKNOWN_DAY,
    Sessions,
    Store,
    learn,
    store_of_pairs,
)
from perfgate.terms import Noise

NOISE = Noise(round_sd=0.02, session_sd=0.02, pair_sd=0.05)
Floats = NDArray[np.float64]


def _sessions(values: Floats) -> Sessions:
    """Rounds [session, round] as they are stored."""
    return Sessions(values.ravel(), (values.shape[1],) * len(values))


def _learn(known: list[Sessions], today: list[list[Floats]] | None = None, engines: list[int] | None = None) -> Store:
    nothing: list[list[Floats]] = [[] for _ in known]
    return learn(known, today or nothing, np.array(engines or range(len(known))), NOISE)


def _world(
    seed: int, metrics: int, sessions: int, *, round_sd: float = 0.01, session_sd: float = 0.005, shared_sd: float = 0.0
) -> tuple[list[Sessions], Floats]:
    """Stored sessions of two rounds, and what each session's shared effect was."""
    rng = np.random.default_rng(seed)
    shared = shared_sd * rng.standard_normal(sessions)
    out = []
    for _ in range(metrics):
        day = shared + session_sd * rng.standard_normal(sessions)
        out.append(_sessions(day[:, None] + round_sd * rng.standard_normal((sessions, 2))))
    return out, shared


def test_with_much_history_the_true_variances_come_out() -> None:
    known, _ = _world(1, metrics=40, sessions=60, round_sd=0.012, session_sd=0.006)

    store = _learn(known)

    assert np.sqrt(np.median(store.round_var)) == pytest.approx(0.012, rel=0.05)
    assert np.sqrt(np.median(store.day_var)) == pytest.approx(0.006, rel=0.25)
    assert store.level == pytest.approx(np.zeros(40), abs=0.01)


def test_without_history_the_stated_noise_stands() -> None:
    store = _learn([Sessions(np.array([]), ())] * 3, [[np.array([0.5, 0.52]), np.array([0.6])]] * 3)

    assert store.round_var == pytest.approx(np.full(3, NOISE.round_sd**2))
    assert store.df == pytest.approx(np.full(3, PRIOR_DF))
    assert store.day_var == pytest.approx(np.full(3, UNKNOWN_DAY))
    assert store.level == pytest.approx(np.full(3, 0.51))  # the baseline engine's rounds of today
    assert store.shared == pytest.approx(np.zeros(3))


def test_many_quiet_metrics_of_today_lower_the_expected_noise() -> None:
    rng = np.random.default_rng(2)
    today: list[list[Floats]] = [
        [0.002 * rng.standard_normal(3), 0.002 * rng.standard_normal(3)] for _ in range(2 * FEW_METRICS)
    ]

    store = _learn([Sessions(np.array([]), ())] * len(today), today)

    assert np.sqrt(store.round_var[0]) == pytest.approx(0.002, rel=0.3)


def test_one_session_leaves_the_stated_spread_between_sessions() -> None:
    store = _learn([_sessions(np.array([[0.0, 0.01, -0.01, 0.005]]))])

    assert store.day_var[0] > NOISE.session_sd**2  # with the caution that is due, and the level's own error


def test_a_drifting_machine_widens_the_day_variance() -> None:
    steady, _ = _world(3, metrics=1, sessions=40)
    drift = np.repeat(np.cumsum(np.full(40, 0.01)), 2)

    moving = Sessions(steady[0].values + drift, steady[0].sizes)

    assert _learn([moving]).day_var[0] > 10 * _learn(steady).day_var[0]


@given(st.integers(0, 10_000), st.floats(-5, 5))
def test_a_unit_does_not_matter(seed: int, shift: float) -> None:
    known, _ = _world(seed, metrics=3, sessions=8)
    moved = [Sessions(one.values + shift, one.sizes) for one in known]

    here, there = _learn(known), _learn(moved)

    assert there.level == pytest.approx(here.level + shift, abs=1e-9)
    assert there.day_var == pytest.approx(here.day_var)
    assert there.round_var == pytest.approx(here.round_var)


@given(st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=5), min_size=0, max_size=MOST_SESSIONS + 5))
def test_any_history_gives_finite_numbers(days: list[list[float]]) -> None:
    flat = np.array([value for day in days for value in day])

    store = _learn([Sessions(flat, tuple(map(len, days)))])

    for part in (store.level, store.round_var, store.df, store.day_var, store.day_df, store.shared):
        assert np.isfinite(part).all()
    assert (store.round_var > 0).all()
    assert (store.day_var > store.shared**2).all()


def test_only_the_newest_sessions_count() -> None:
    known, _ = _world(4, metrics=1, sessions=MOST_SESSIONS)
    older = Sessions(np.concatenate([[9.0, 9.0], known[0].values]), (2, *known[0].sizes))

    assert _learn([older]).level == pytest.approx(_learn(known).level)
    assert _learn([older]).day_var == pytest.approx(_learn(known).day_var, rel=0.05)


# ------------------------------------------------------------------ what all engines share


def test_a_shared_session_effect_is_seen_in_history() -> None:
    engines = [i // 2 for i in range(24)]
    alone, _ = _world(5, metrics=24, sessions=40)
    together, _ = _world(5, metrics=24, sessions=40, shared_sd=0.01)

    assert np.median(_learn(together, engines=engines).shared) == pytest.approx(0.01, rel=0.5)
    assert np.median(_learn(alone, engines=engines).shared) < 0.002


def test_the_other_engines_baseline_rounds_show_todays_shared_effect() -> None:
    engines = [i // 2 for i in range(24)]
    known, _ = _world(6, metrics=24, sessions=40, shared_sd=0.01)
    rows = np.full((24, 2), 0.03)  # a day that is 3 % slower for everybody
    rows[:2] = np.nan  # the first engine's baseline was not run today

    store = _learn(known, engines=engines)
    seen = store.seen_today(rows, np.array(engines))

    assert seen.level[0] - store.level[0] > 0.015
    assert seen.day_var[0] < store.day_var[0]


def test_an_engine_does_not_tell_of_itself() -> None:
    engines = np.array([i // 2 for i in range(24)])
    known, _ = _world(7, metrics=24, sessions=40, shared_sd=0.01)
    rows = np.full((24, 2), np.nan)
    rows[:2] = 0.05

    store = _learn(known, engines=list(engines))

    assert store.seen_today(rows, engines).level[:2] == pytest.approx(store.level[:2])


def test_one_wild_engine_does_not_move_the_others() -> None:
    engines = np.array([i // 2 for i in range(24)])
    known, _ = _world(8, metrics=24, sessions=40, shared_sd=0.01)
    rows = np.zeros((24, 2))
    rows[:2] = 3.0

    seen = _learn(known, engines=list(engines)).seen_today(rows, engines)

    assert np.abs(seen.level[2:]).max() < 0.02


def test_stored_rounds_alone_are_taken_with_more_caution() -> None:
    known, _ = _world(9, metrics=2, sessions=10)

    store = _learn(known)
    alone = store.alone()

    assert (alone.day_var > store.day_var).all()
    assert (alone.df <= store.df).all()


def test_pairs_know_no_level_and_no_day() -> None:
    store = store_of_pairs(2, NOISE)

    assert store.round_var == pytest.approx(np.full(2, NOISE.pair_sd**2))
    assert not store.level.any()
    assert not store.day_var.any()
    assert math.isclose(float(store.doubt.sum()), 0.0)


def test_pinned_sessions_alone_tell_the_level_and_the_others_how_far_days_lie_from_it() -> None:
    days = np.repeat([0.0, *[0.04, -0.04] * MOST_SESSIONS], 2)  # more than are looked at
    sizes = (2,) * (len(days) // 2)

    pinned, steady = (_learn([Sessions(values, sizes, pinned=1)]) for values in (days, 0 * days))
    moved = _learn([Sessions(days + np.repeat(np.arange(len(sizes)) > 0, 2) * 0.1, sizes, pinned=1)])

    assert pinned.level == moved.level == pytest.approx(0.0, abs=1e-12)
    assert steady.day_var < pinned.day_var < moved.day_var
