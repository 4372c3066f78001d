"""What finding a change takes, against the judge's own evidence on simulated pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perfgate.evidence import weigh
from perfgate.needs import MARGIN_SHARE, MOST_PAIRS, Noisy, detectable, finds, pairs_needed
from perfgate.noise import Store
from perfgate.noisy import EDGE, ROBUST_SLACK
from perfgate.terms import Gate

GATE = Gate(())
TESTS = 54


def _simulated(noise: Noisy, size: float, sets: int = 200, most: int = 60) -> float:
    """Mean pairs until red of pairs drawn with that noise about that change, by the judge's rule."""
    rng, detect = np.random.default_rng(23), math.log1p(size)
    draws = rng.normal(detect, noise.sd, (sets, most))
    zero = np.zeros(sets)
    store = Store(zero, zero + noise.sd**2, zero + noise.df, zero, zero + noise.df, zero, zero)
    first = np.full(sets, most)
    red = math.log(TESTS / GATE.alpha)
    for pairs in range(most - 1, 1, -1):
        limits = zero + MARGIN_SHARE * detect, zero + detect
        found = weigh(store, np.empty((sets, 0)), draws[:, :pairs], *limits)
        is_red = (found.worse >= red) & (found.worse_robust >= red - ROBUST_SLACK) & (found.beyond >= EDGE)
        first = np.where(is_red, pairs, first)
    return float(first.mean())


@pytest.mark.parametrize(("sd", "size"), [(0.02, 0.05), (0.03, 0.05), (0.05, 0.1), (0.05, 0.2)])
def test_pairs_needed_are_what_the_judge_takes_on_simulated_pairs(sd: float, size: float) -> None:
    noise = Noisy(sd, 10)

    (needed,) = pairs_needed([(noise, size)], GATE, TESTS)

    assert needed is not None
    assert needed == pytest.approx(_simulated(noise, size), rel=0.25, abs=0.8)


def test_half_the_noise_is_about_a_quarter_of_the_bill() -> None:
    whole, half = pairs_needed([(Noisy(0.08, 100), 0.05), (Noisy(0.04, 100), 0.05)], GATE, TESTS)

    assert whole is not None
    assert half is not None
    assert 3 <= whole / half <= 5


def test_what_is_out_of_reach_is_told_as_such() -> None:
    assert pairs_needed([(Noisy(1.0, 6), 0.01)], GATE, TESTS) == [None]
    assert detectable([Noisy(30.0, 6)], 12, GATE, TESTS) == [None]
    assert MOST_PAIRS >= 100


def test_needs_grow_with_noise_and_with_the_fineness_of_the_change() -> None:
    by_noise = pairs_needed([(Noisy(sd, 6), 0.05) for sd in (0.0, 0.01, 0.02, 0.04)], GATE, TESTS)
    by_size = pairs_needed([(Noisy(0.03, 6), size) for size in (0.5, 0.2, 0.1, 0.05)], GATE, TESTS)

    assert by_noise == sorted(one for one in by_noise if one)
    assert by_size == sorted(one for one in by_size if one)


def test_what_is_detectable_is_found_with_these_pairs_and_less_is_not() -> None:
    noise = Noisy(0.03, 6)

    (size,) = detectable([noise], 12, GATE, TESTS)

    assert size is not None
    assert finds([(noise, size), (noise, size / 2)], 12, GATE, TESTS) == [True, False]


def test_one_pair_finds_nothing() -> None:
    assert finds([(Noisy(0.001, 100), 1.0)], 1, GATE, TESTS) == [False]
    assert finds([], 5, GATE, TESTS) == []
