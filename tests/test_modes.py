"""The two modes of an engine: found from all its metrics, and told to those that cannot tell them."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from perfgate.levels import OnLevels, TwoLevels
from perfgate.modes import Companions, Modes, find_modes
from perfgate.told import Readings, Told

Floats = NDArray[np.float64]
PAIRS = (2,) * 30


def _engine(seed: int, sds: list[float], gap: float = 0.05, share: float = 0.3, rounds: int = 60) -> Floats:
    """Rounds of one engine [metric, round]: half of the noise is that of the process, all metrics share the mode."""
    rng = np.random.default_rng(seed)
    process = math.sqrt(0.5) * (rng.standard_normal(rounds) + rng.standard_normal((len(sds), rounds)))
    return np.asarray(np.array(sds)[:, None] * process + gap * (rng.random(rounds) < share))


def _found(rows: Floats, sizes: tuple[int, ...] = PAIRS) -> Modes | None:
    return find_modes(rows, sizes, np.full(len(rows), 1e-3))


def test_a_clear_metric_tells_the_modes_of_a_noisy_one() -> None:
    modes = _found(_engine(1, [0.005, 0.03]))

    assert modes is not None
    assert modes.levels[1].gap == pytest.approx(0.05, abs=0.02)
    assert modes.levels[1].sd == pytest.approx(0.03, rel=0.3)
    assert set(modes.companions) == {1}


def test_metrics_tell_together_what_none_tells_alone() -> None:
    """Gaps of three deviations in each of three metrics, more than five in their sum."""
    alone, together = 0, 0
    for seed in range(100):
        rows = np.random.default_rng(seed).standard_normal((3, 60)) * 0.0165
        rows += 0.05 * (np.random.default_rng(1000 + seed).random(60) < 0.3)
        alone += any(_found(row[None]) is not None for row in rows)
        together += _found(rows) is not None

    assert together >= 80
    assert alone < 40


@pytest.mark.parametrize("metrics", [1, 3, 24])
@pytest.mark.parametrize("rounds", [12, 20, 60])
def test_one_mode_is_not_taken_for_two(metrics: int, rounds: int) -> None:
    """Correlated metrics, many for few rounds: a sum fitted to them must not find modes in their noise."""
    found = sum(
        _found(_engine(seed, [0.01] * metrics, gap=0.0, rounds=rounds), (2,) * (rounds // 2)) is not None
        for seed in range(100)
    )

    assert found <= 3


@pytest.mark.parametrize("rounds", [30, 60, 120])
@pytest.mark.parametrize(
    "shape", [stats.lognorm(0.5), stats.lognorm(1.0), stats.expon(), stats.t(3), stats.uniform(), stats.gamma(2)]
)
def test_one_mode_of_another_shape_is_not_taken_for_two(shape: Any, rounds: int) -> None:
    found = sum(
        _found(0.01 * shape.rvs((3, rounds), random_state=seed), (2,) * (rounds // 2)) is not None for seed in range(60)
    )

    assert found <= 4


def test_modes_are_found_under_drift() -> None:
    drift = np.cumsum(0.002 * np.random.default_rng(5).standard_normal(30)).repeat(2)

    found = sum(_found(_engine(seed, [0.006, 0.02]) + drift) is not None for seed in range(50))

    assert found >= 45


def test_a_wild_round_hides_no_modes() -> None:
    rows = _engine(7, [0.006, 0.02])
    rows[:, 11] += 0.2

    assert _found(rows) is not None


def test_a_metric_that_the_mode_leaves_alone_has_one_level() -> None:
    rows = _engine(8, [0.005, 0.005])
    rows[1] = 0.005 * np.random.default_rng(9).standard_normal(60)

    modes = _found(rows)

    assert modes is not None
    assert set(modes.levels) == {0}


def test_a_mode_may_be_better_for_a_metric() -> None:
    rows = _engine(10, [0.005, 0.005])
    rows[1] = -rows[1]

    modes = _found(rows)

    assert modes is not None
    assert modes.levels[1].gap == pytest.approx(-modes.levels[0].gap, abs=0.005)
    assert modes.levels[1].words == modes.levels[1].words.replace("-", "")


# ------------------------------------------------------------------ what companions tell of today

TELL = Companions(np.array([1.0, 0.0]), gap=1.0, sd=0.1, slow_share=0.3)


def test_rounds_of_both_modes_are_told_apart() -> None:
    told = TELL.read(np.array([[0.0, 1.0, 0.05, 0.95], [9.0, 9.0, 9.0, 9.0]]))

    assert told.chance == pytest.approx([0, 1, 0, 1], abs=0.01)


def test_rounds_that_are_alike_may_all_be_fast_or_all_be_slow() -> None:
    """By the share alone, since a slower engine is slower in its companions too."""
    told = TELL.read(np.array([[5.0, 5.01, 4.99]] * 2))

    assert np.exp(told.log_weight).sum() == pytest.approx(1)
    assert told.chance == pytest.approx([0.3**3 / (0.3**3 + 0.7**3)] * 3, abs=0.02)


def test_the_shift_of_a_whole_side_says_nothing() -> None:
    rows = np.array([[0.0, 1.02, 0.1]] * 2)

    assert TELL.read(rows).chance == pytest.approx(TELL.read(rows + 0.5).chance, abs=0.02)


def test_a_wild_round_does_not_tell_the_level_of_the_others() -> None:
    """Three rounds alike and one far above: they may still all be slow."""
    alike = TELL.read(np.array([[0.0, 0.01, -0.01]] * 2)).chance
    beside_a_wild_one = TELL.read(np.array([[0.0, 0.01, -0.01, 3.0]] * 2)).chance

    assert beside_a_wild_one[:3] == pytest.approx(alike, abs=0.05)
    assert beside_a_wild_one[3] > 0.99


def test_no_rounds_are_read() -> None:
    assert TELL.read(np.empty((2, 0))).slow.shape == (1, 0)


# ------------------------------------------------------------------ the likelihood of a metric that is told

LEVELS = TwoLevels(low=-0.01, gap=0.05, slow_share=0.3, sd=0.03, df=1e6, day_sd=0.005)


def _sure(slow: list[int]) -> Readings:
    return Readings(np.zeros(1), np.clip(np.array([slow], dtype=float), 0.0, 1.0))


def test_with_sure_modes_it_is_that_of_one_level() -> None:
    """Compared with the multivariate normal density, covariance written out."""
    a, b = np.array([0.01, 0.05]), np.array([0.0, 0.06, -0.02])
    told = Told(LEVELS, _sure([0, 1]), _sure([0, 1, 0]))
    rounds = np.concatenate([a, b]) - LEVELS.low - LEVELS.gap * np.array([0, 1, 0, 1, 0])

    whole, *without = told.log_likelihood(a, b)

    def reference(rows: Floats) -> float:
        one = np.ones((len(rows), len(rows)))
        return float(special.logsumexp([
            math.log(weight) + stats.multivariate_normal(cov=LEVELS.sd**2 * np.eye(len(rows)) + var * one).logpdf(rows)
            for weight, var in ((0.98, LEVELS.day_sd**2), (0.02, 1.0))
        ]))  # fmt: skip

    assert without[3] - without[0] == pytest.approx(reference(rounds[[0, 1, 2, 4]]) - reference(rounds[1:]), abs=1e-3)
    shifted, *_ = told.log_likelihood(a, b - 0.03)
    moved = rounds - 0.03 * np.array([0, 0, 1, 1, 1])
    assert shifted - whole == pytest.approx(reference(moved) - reference(rounds), abs=1e-3)


def test_readings_are_mixed_by_their_weight() -> None:
    a, b = np.array([0.0, 0.01]), np.array([0.05, 0.06])
    parts = [Told(LEVELS, _sure([0, 0]), _sure(slow)).log_likelihood(a, b) for slow in ([0, 0], [1, 1])]
    both = Readings(np.log([0.8, 0.2]), np.array([[0.0, 0.0], [1.0, 1.0]]))

    mixed = Told(LEVELS, _sure([0, 0]), both).log_likelihood(a, b)

    assert mixed == pytest.approx(np.logaddexp(math.log(0.8) + parts[0], math.log(0.2) + parts[1]))


def test_levelled_rounds_lose_the_gap() -> None:
    told = Told(LEVELS, _sure([0, 1]), _sure([1]))

    a, b = told.levelled(np.array([-0.01, 0.04]), np.array([0.04]))

    assert a == pytest.approx([0, 0])
    assert b == pytest.approx([0])


def test_today_asks_companions_before_the_metric_itself() -> None:
    rows = _engine(1, [0.005, 0.03])
    modes = _found(rows)
    assert modes is not None

    today: dict[int, OnLevels] = modes.today(rows[:, :4], rows[:, 4:8])

    assert isinstance(today[0], TwoLevels)
    assert isinstance(today[1], Told)
    assert today[1].words.endswith("told by the engine's other metrics")
