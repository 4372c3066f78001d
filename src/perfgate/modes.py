"""Which rounds of an engine ran in its slow mode: told by all its metrics together.

A process runs in one mode, and all that it measures is slow or fast with it. A metric whose noise is nearly as
large as the gap cannot tell the modes apart by itself, but another metric of the same rounds may. So levels are
looked for per engine: in the clearest metric, and in the sum of all that weighs each by gap / variance (Fisher's
linear discriminant with a diagonal covariance). What is found there sorts the rounds of every metric.

Of today's rounds, the companions of a metric (the other metrics of the engine) tell which were slower than which.
They do not tell the level itself, since a slower engine is slower in its companions too: their level is free on
either side, and summed over. So rounds that are all alike may all be fast, or all slow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from perfgate.levels import FEWEST_ROUNDS, OnLevels, TwoLevels
from perfgate.noise import Floats, within_sessions
from perfgate.told import SURE, Readings, Told
from perfgate.wild import MOST, tame

FEWEST_ON_A_LEVEL = 3
SEPARATION = 5.0  # gap between the levels in standard deviations of one
TELLING = 3.0  # the same for companions: below this they are not asked
WEIGHTY = 1.5  # the same for a metric that enters the sum of all
ROUNDS_A_WEIGHT = 10  # stored rounds for each metric that enters it: a sum of many fits the noise of few
SHOWN = 3.0  # standard errors by which a metric's gap must differ from none
BETWEEN_THEM = 0.05  # share of the rounds that may lie in the middle third of the gap: a skewed tail fills it
GAIN = 8.0  # log-likelihood that two levels must gain over one (3 more parameters; BIC wants 1.5 ln n each)
STEPS = 25
BIMODAL = 0.5  # of Sarle's coefficient; a normal distribution has 1/3, a uniform one 5/9
BLOCK = 20  # rounds in which a drift is small
QUANTILE = 0.35
LEVEL_ROUNDS = 40  # newest stored rounds that tell today's fast level
MOST_WILD = 3
FORGOTTEN = math.log(1e-6)  # log-weight below which a reading is dropped
MERGED = 5  # readings whose chances agree to one part in so many are taken together

Slow = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Companions:
    """A weighted sum of an engine's other metrics that tells the modes of rounds apart; slow is larger."""

    weights: Floats  # of each metric of the engine; 0 for the one that is asked about
    gap: float
    sd: float  # within a session and a level
    slow_share: float

    def read(self, rounds: Floats) -> Readings:
        """Readings of one side's rounds [metric, round]: one for each fast level that may be today's."""
        x = self.weights @ rounds
        if not len(x):
            return Readings(np.zeros(1), np.zeros((1, 0)))
        step = self.sd / max(2.0, math.sqrt(len(x)))
        level = np.arange(x.min() - self.gap - 2 * self.sd, x.max() + 2 * self.sd, step)[:, None]
        fast = math.log1p(-self.slow_share) - 0.5 * ((x - level) / self.sd) ** 2
        slow = math.log(self.slow_share) - 0.5 * ((x - level - self.gap) / self.sd) ** 2
        weight = np.logaddexp(fast, slow).sum(axis=1)
        weight -= np.logaddexp.reduce(weight)
        kept = weight > FORGOTTEN
        return _merged(weight[kept], np.clip(special.expit(slow - fast), 1 - SURE, SURE)[kept])


def _merged(log_weight: Floats, slow: Floats) -> Readings:
    """Readings that say much the same taken together."""
    _, place = np.unique(np.round(slow * MERGED), axis=0, return_inverse=True)
    weight = np.exp(log_weight)
    total = np.bincount(place.ravel(), weight)
    chances = np.stack([np.bincount(place.ravel(), weight * one) for one in slow.T], axis=1)
    return Readings(np.log(total), chances / total[:, None])


@dataclass(frozen=True, slots=True)
class Modes:
    """An engine that runs in two modes: levels and companions of each metric, by its place among the engine's."""

    levels: Mapping[int, TwoLevels]
    companions: Mapping[int, Companions]

    def today(self, a: Floats, b: Floats) -> dict[int, OnLevels]:
        """Metrics whose modes are told, by themselves or by their companions; a, b: [metric, round] of today."""
        out: dict[int, OnLevels] = {}
        for i, levels in self.levels.items():
            if i in self.companions:
                out[i] = Told(levels, self.companions[i].read(a), self.companions[i].read(b))
            elif abs(levels.gap) >= TELLING * levels.sd:
                out[i] = levels
        return out


def find_modes(rows: Floats, sizes: tuple[int, ...], day_var: Floats) -> Modes | None:
    """The two modes of an engine, where they are beyond doubt.

    rows: stored rounds [metric, round] in log units about the level that is expected today; sizes: rounds of each
    session; day_var: of each metric. Rounds that changed once and stayed there are no two modes but a step: modes
    must take turns.
    """
    flat = _without_drift(rows)
    slow = _slow_rounds([rows] if flat is None else [rows, flat])
    if slow is None or not _take_turns(slow):
        return None
    rows, flat = (_tamed(one, slow) for one in (rows, rows if flat is None else flat))
    gaps = flat[:, slow].mean(axis=1) - flat[:, ~slow].mean(axis=1)
    levels = {
        i: _levels_of(row, gap, slow, sizes, float(day_var[i]))
        for i, (row, gap) in enumerate(zip(rows, gaps, strict=True))
    }
    shown = {i: one for i, one in levels.items() if abs(one.gap) > SHOWN * one.sd * _gap_error(slow)}
    hidden = [i for i, one in shown.items() if not one.tells_itself]
    companions = {i: _companions(rows, _weights(flat, slow), slow, sizes, [k for k in shown if k != i]) for i in hidden}
    return Modes(shown, {i: one for i, one in companions.items() if one is not None})


def _without_drift(rows: Floats) -> Floats | None:
    """Rounds about the level of their time; the quantile is one that neither level's share moves much."""
    metrics, rounds = rows.shape
    blocks = rounds // BLOCK
    if blocks < 2:  # noqa: PLR2004
        return None
    size, place = rounds // blocks, int(QUANTILE * (rounds // blocks))
    levels = np.partition(rows[:, : blocks * size].reshape(metrics, blocks, size), place, axis=2)[:, :, place]
    block = np.minimum(np.arange(rounds) // size, blocks - 1)
    return np.asarray(rows - levels[:, block])


def _tamed(rows: Floats, slow: Slow) -> Floats:
    return np.stack([tame(row, np.where(slow, np.median(row[slow]), np.median(row[~slow]))) for row in rows])


def find_levels(values: Floats, sizes: tuple[int, ...], day_var: float) -> TwoLevels | None:
    """The same for a single metric."""
    found = find_modes(values[None], sizes, np.array([day_var]))
    return found.levels.get(0) if found else None


def _slow_rounds(views: Sequence[Floats]) -> Slow | None:
    """Which stored rounds were slow, by the clearest metric or the clearest sum of all; None without two modes.

    views: the rounds [metric, round] as they are, and without drift.
    """
    if views[0].shape[1] < FEWEST_ROUNDS:
        return None
    found = [one for rows in views for one in _clear_series(rows)]
    if not found:
        return None
    x, fit = max(found, key=lambda one: one[1].separation)
    return np.asarray(x - fit.low > fit.gap / 2)


def _clear_series(rows: Floats) -> list[tuple[Floats, _Fit]]:
    seeds = [row for row in rows if _may_have_two(row) or _may_have_two(np.sort(row)[:-1])]
    clear = _clear(seeds, len(rows))
    return clear + _clear([_sum_of_all(rows, seed) for seed in ([clear[0][0]] if clear else seeds)], len(rows))


def _clear(series: Sequence[Floats], looked_at: int) -> list[tuple[Floats, _Fit]]:
    """Those with two clear levels, the clearest first; the more were looked at, the more each must gain."""
    gain = GAIN + math.log(looked_at)
    fits = [(x, fit) for x in series if (fit := _clear_fit(x, gain)) is not None]
    return sorted(fits, key=lambda one: -one[1].separation)


@dataclass(frozen=True, slots=True)
class _Fit:
    low: float
    gap: float
    sd: float

    @property
    def separation(self) -> float:
        return self.gap / self.sd


def _sum_of_all(rows: Floats, seed: Floats) -> Floats:
    """Fisher's discriminant of all metrics, from how a first metric sorts the rounds."""
    fit = _fit(seed)
    slow = seed - fit.low > fit.gap / 2 if fit else seed > np.median(seed)
    return _weights(rows, slow) @ rows


def _weights(rows: Floats, slow: Slow) -> Floats:
    """gap / variance of each metric; 0 for those that tell the modes badly, and for all but the best of many."""
    gap = rows[:, slow].mean(axis=1) - rows[:, ~slow].mean(axis=1)
    var = np.maximum((rows - gap[:, None] * slow).var(axis=1), 1e-18)
    telling = np.abs(gap) / np.sqrt(var)
    telling[np.argsort(-telling)[rows.shape[1] // ROUNDS_A_WEIGHT :]] = 0.0
    return np.asarray(np.where(telling >= WEIGHTY, gap / var, 0.0))


def _take_turns(slow: Slow) -> bool:
    """Half of the changes that chance would give."""
    share = float(slow.mean())
    return bool((slow[1:] != slow[:-1]).sum() >= share * (1 - share) * len(slow))


def _gap_error(slow: Slow) -> float:
    """Standard error of a gap, in standard deviations of a round."""
    return math.sqrt(1 / max(int(slow.sum()), 1) + 1 / max(int((~slow).sum()), 1))


def _levels_of(x: Floats, gap: float, slow: Slow, sizes: tuple[int, ...], most: float) -> TwoLevels:
    fast = x - gap * slow
    sd, day_sd, df = _spreads(fast, sizes, most)
    return TwoLevels(float(fast[-LEVEL_ROUNDS:].mean()), gap, float(slow.mean()), sd, df, day_sd)


def _companions(
    rows: Floats, weights: Floats, slow: Slow, sizes: tuple[int, ...], others: Sequence[int]
) -> Companions | None:
    """The sum of other metrics, where it tells the modes clearly."""
    mine = np.zeros_like(weights)
    mine[others] = weights[others]
    if not mine.any():
        return None
    x = mine @ rows
    found = _levels_of(x, float(x[slow].mean() - x[~slow].mean()), slow, sizes, math.inf)
    return Companions(mine, found.gap, found.sd, found.slow_share) if found.gap >= TELLING * found.sd else None


def _may_have_two(values: Floats) -> bool:
    """A cheap screen: Sarle's bimodality coefficient."""
    z = values - values.mean()
    square = z * z
    var = float(square.mean())
    if var == 0:
        return False
    skew, kurtosis = float(square @ z) / len(z) / var**1.5, float(square @ square) / len(z) / var**2
    return bool((skew**2 + 1) / kurtosis > BIMODAL)


def _clear_fit(x: Floats, gain: float) -> _Fit | None:
    """Two levels in one series, where a single normal does not serve; a few wild rounds (slow ones) apart."""
    ordered = np.sort(x)
    for wild in range(1 + min(MOST_WILD, max(1, len(x) // MOST))):
        if (fit := _clear_fit_of(ordered[: len(x) - wild], gain)) is not None:
            return fit
    return None


def _clear_fit_of(x: Floats, wanted: float) -> _Fit | None:
    fit = _fit(x) if _may_have_two(x) else None
    if fit is None:
        return None
    share = float((x - fit.low > fit.gap / 2).mean())
    if not 0 < share < 1:
        return None
    fast, slow = (-0.5 * ((x - fit.low - gap) / fit.sd) ** 2 for gap in (0.0, fit.gap))
    each = np.logaddexp(math.log1p(-share) + fast, math.log(share) + slow)
    gain = float(each.sum()) - len(x) * math.log(fit.sd) + len(x) * (math.log(float(x.std())) + 0.5)
    between = float((np.abs(x - fit.low - fit.gap / 2) < fit.gap / 6).mean())
    is_clear = gain >= wanted and fit.separation >= SEPARATION and between <= BETWEEN_THEM
    return fit if is_clear else None


def _fit(x: Floats) -> _Fit | None:
    """Levels and common deviation of a mixture of two normal distributions, by EM; None where it collapses."""
    low, high = (float(q) for q in np.quantile(x, [0.03, 0.97]))
    share, sd = 0.5, max((high - low) / 6, 1e-9)
    for _ in range(STEPS):
        odds = math.log(share / (1 - share)) + ((x - low) ** 2 - (x - high) ** 2) / (2 * sd**2)
        slow = special.expit(odds)
        total = float(slow.sum())
        if not FEWEST_ON_A_LEVEL <= total <= len(x) - FEWEST_ON_A_LEVEL:
            return None
        low, high = float(((1 - slow) * x).sum() / (len(x) - total)), float((slow * x).sum() / total)
        share = total / len(x)
        sd = max(math.sqrt(float(((1 - slow) * (x - low) ** 2 + slow * (x - high) ** 2).mean())), 1e-9)
    return _Fit(low, high - low, sd) if high > low else None


def _spreads(levelled: Floats, sizes: tuple[int, ...], most: float) -> tuple[float, float, float]:
    """Standard deviation within sessions and between them, and degrees of freedom, of rounds with the gap taken off."""
    means, squares = within_sessions(levelled, sizes)
    df = float(max(len(levelled) - len(means), 1))
    within = squares / df
    if within == 0:  # one round a session: the two cannot be told apart
        within, df = float(levelled.var()) / 2, float(len(means) - 1)
    between = float(means.var()) - within * len(means) / len(levelled)
    return math.sqrt(max(within, 1e-12)), math.sqrt(min(max(between, 0.1 * within), most)), df
