"""Two levels and heavy tails: found where they are beyond doubt, and nowhere else."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from perfgate.levels import FEWEST_ROUNDS, TwoLevels, heavy_tail
from perfgate.modes import find_levels

Floats = NDArray[np.float64]
PAIRS = (2,) * 30


def _two(rng: np.random.Generator, gap: float, share: float, sd: float = 0.01, count: int = 60) -> Floats:
    return sd * rng.standard_normal(count) + gap * (rng.random(count) < share)


def test_two_levels_are_found_with_gap_and_share() -> None:
    values = _two(np.random.default_rng(1), gap=0.16, share=0.3)

    found = find_levels(values, PAIRS, day_var=0.01)

    assert found is not None
    assert found.gap == pytest.approx(0.16, abs=0.01)
    assert found.slow_share == pytest.approx((values > 0.08).mean())
    assert found.sd == pytest.approx(0.01, rel=0.3)
    assert found.words == "two levels 18 % apart, 32 % of stored rounds on the slow one"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_clear_levels_are_rarely_overlooked(share: float) -> None:
    rng = np.random.default_rng(2)

    found = sum(find_levels(_two(rng, 0.10, share), PAIRS, day_var=0.01) is not None for _ in range(100))

    assert found >= 90


@pytest.mark.parametrize("draw", ["normal", "student3", "lognormal", "uniform"])
def test_one_level_is_not_taken_for_two(draw: str) -> None:
    rng = np.random.default_rng(3)
    draws = {
        "normal": lambda: rng.standard_normal(60),
        "student3": lambda: rng.standard_t(3, 60),
        "lognormal": lambda: rng.lognormal(0, 0.5, 60),
        "uniform": lambda: rng.random(60),
    }

    found = sum(find_levels(0.01 * draws[draw](), PAIRS, day_var=0.01) is not None for _ in range(300))

    assert found <= 6


def test_a_step_is_no_second_level() -> None:
    """Rounds that changed once and stayed there: a new driver, not a mode."""
    rng = np.random.default_rng(4)
    values = 0.01 * rng.standard_normal(60) + np.repeat([0.0, 0.2], 30)

    assert find_levels(values, PAIRS, day_var=0.01) is None


def test_a_drift_is_no_second_level() -> None:
    values = np.linspace(0, 0.2, 60) + 0.005 * np.random.default_rng(5).standard_normal(60)

    assert find_levels(values, PAIRS, day_var=0.01) is None


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=0, max_size=40))
def test_any_rounds_are_taken(values: list[float]) -> None:
    found = find_levels(np.array(values), (1,) * len(values), day_var=0.01)

    if found is not None:
        assert len(values) >= FEWEST_ROUNDS
        assert found.gap > 0
        assert all(map(math.isfinite, (found.low, found.sd, found.day_sd)))


def test_the_likelihood_is_that_of_the_mixture() -> None:
    """With variance and day all but known the integral is the plain mixture density."""
    levels = TwoLevels(low=0.0, gap=0.2, slow_share=0.3, sd=0.02, df=1e7, day_sd=1e-6)
    rows = np.array([0.01, 0.19, -0.02])

    at_zero = levels.log_likelihood(np.array([0.0]), np.array([]))[0]
    whole, *without = levels.log_likelihood(rows[:1], rows[1:]) - at_zero

    def density(x: float) -> float:
        return float(np.log(0.7 * stats.norm.pdf(x, 0, 0.02) + 0.3 * stats.norm.pdf(x, 0.2, 0.02)))

    terms = [density(row) - math.log(1 / math.sqrt(2 * math.pi)) for row in rows]
    zero = density(0.0) - math.log(1 / math.sqrt(2 * math.pi))
    assert whole == pytest.approx(sum(terms) - zero, abs=1e-3)
    assert without == pytest.approx([sum(terms) - terms[j] - zero for j in (0, 1, 2)], abs=1e-3)


def test_heavy_tails_are_named() -> None:
    rng = np.random.default_rng(6)
    values = 0.01 * rng.standard_normal(60)
    values[7] = 0.4

    assert heavy_tail(values) == "heavy tails, 1 of 60 stored rounds far off"
    assert heavy_tail(0.01 * rng.standard_normal(60)) == ""
    assert heavy_tail(values[:5]) == ""
