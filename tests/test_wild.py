"""Wild rounds are taken in, and nothing else is touched."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from perfgate.noise import Sessions
from perfgate.wild import FEWEST, TAKEN_IN, tame, tame_on_levels, tame_sessions

Floats = NDArray[np.float64]


def _normal(seed: int, count: int = 60) -> Floats:
    return 0.01 * np.random.default_rng(seed).standard_normal(count)


def test_a_wild_round_is_taken_in() -> None:
    values = _normal(1)
    values[7] = 0.3

    tamed = tame(values)

    assert tamed[7] == pytest.approx(TAKEN_IN * 0.01, rel=0.3)
    assert np.delete(tamed, 7) == pytest.approx(np.delete(values, 7))


def test_normal_noise_is_left_alone() -> None:
    for seed in range(200):
        values = _normal(seed)
        assert tame(values) == pytest.approx(values)


def test_many_rounds_far_off_are_no_disturbance() -> None:
    """A slow mode, or a heavy tail: two of 60 already."""
    values = _normal(2)
    values[[7, 30]] = 0.3

    assert tame(values) == pytest.approx(values)


def test_few_rounds_are_left_alone() -> None:
    values = np.array([0.0, 0.01, -0.01, 0.5, 0.002, 0.003, 0.001])

    assert len(values) < FEWEST
    assert tame(values) == pytest.approx(values)


def test_a_session_that_is_off_as_a_whole_is_another_day() -> None:
    values = _normal(3, 80)
    values[40:42] = 0.3
    one_round = values.copy()
    one_round[41] = 0.0

    assert tame_sessions(Sessions(values, (2,) * 40)).values == pytest.approx(values)
    assert tame_sessions(Sessions(one_round, (2,) * 40)).values[40] < 0.1


def test_a_session_of_one_round_may_be_another_day() -> None:
    values = _normal(4)
    values[5] = 0.3

    assert tame_sessions(Sessions(values, (1,) * 60)).values == pytest.approx(values)


def test_on_two_levels_a_slow_round_is_not_wild() -> None:
    side = _normal(5, 12)
    side[[2, 3, 9]] += 0.2
    wild = side.copy()
    wild[0] = 0.45

    assert tame_on_levels(side, gap=0.2, sd=0.01) == pytest.approx(side)
    assert tame_on_levels(wild, gap=0.2, sd=0.01)[0] == pytest.approx(0.2 + TAKEN_IN * 0.01, abs=0.02)


@given(st.lists(st.floats(-1e3, 1e3), max_size=50), st.floats(-10, 10))
def test_taming_follows_a_shift(values: list[float], shift: float) -> None:
    """Both sides of a comparison are treated alike, wherever their level is."""
    rounds = np.array(values)

    assert tame(rounds + shift) == pytest.approx(tame(rounds) + shift, abs=1e-6)
