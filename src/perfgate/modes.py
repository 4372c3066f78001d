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
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from perfgate.levels import FEWEST_ROUNDS, OnLevels, TwoLevels
from perfgate.mixture import Fit, clear_fit, fit_two, may_have_two
from perfgate.noise import Floats, within_sessions
from perfgate.told import SURE, Readings, Told
from perfgate.wild import tame

ASKED = 3.0  # gap in standard deviations of a level from which on companions are asked
WEIGHTY = 1.5  # the same for a metric that enters the sum of all
ROUNDS_A_WEIGHT = 10  # stored rounds for each metric that enters it: a sum of many fits the noise of few
SHOWN = 3.0  # standard errors by which a metric's gap must differ from none
GAIN = 8.0  # log-likelihood that two levels must gain over one (3 more parameters; BIC wants 1.5 ln n each)
BLOCK = 20  # rounds in which a drift is small
QUANTILE = 0.35
LEVEL_ROUNDS = 40  # newest stored rounds that tell today's fast level
FORGOTTEN = math.log(1e-6)  # log-weight below which a reading is dropped
ANYWHERE = -7.0  # log-density of a wild round wherever it lies (a peak has 0): it must not tell the level of the others
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
        weight = np.logaddexp(np.logaddexp(fast, slow), ANYWHERE).sum(axis=1)
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
            elif abs(levels.gap) >= ASKED * levels.sd:
                out[i] = levels
        return out


def find_modes(rows: Floats, sizes: tuple[int, ...], day_var: Floats) -> Modes | None:
    """The two modes of an engine, where they are beyond doubt.

    rows: stored rounds [metric, round] in log units about the level that is expected today; sizes: rounds of each
    session; day_var: of each metric. Rounds that changed once and stayed there are no two modes but a step: modes
    must take turns.
    """
    slow = _slow_rounds(rows.tobytes(), len(rows))
    if slow is None or not _take_turns(slow):
        return None
    rows, flat = _tamed(rows, slow), _tamed(_without_drift(rows), slow)
    gaps = flat[:, slow].mean(axis=1) - flat[:, ~slow].mean(axis=1)
    levels = {
        i: _levels_of(row, gap, slow, sizes, float(day_var[i]))
        for i, (row, gap) in enumerate(zip(rows, gaps, strict=True))
    }
    shown = {i: one for i, one in levels.items() if abs(one.gap) > SHOWN * one.sd * _gap_error(slow)}
    hidden, weights = [i for i, one in shown.items() if not one.tells_itself], _weights(flat, slow)
    companions = {i: _companions(rows, weights, slow, sizes, [k for k in shown if k != i]) for i in hidden}
    return Modes(shown, {i: one for i, one in companions.items() if one is not None})


def _without_drift(rows: Floats) -> Floats:
    """Rounds about the level of their time; the quantile is one that neither level's share moves much."""
    metrics, rounds = rows.shape
    blocks = rounds // BLOCK
    if blocks <= 1:
        return rows
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


@lru_cache(maxsize=512)  # a gate asks after every round, and what is stored stays
def _slow_rounds(stored: bytes, metrics: int) -> Slow | None:
    """Which stored rounds were slow, by the clearest metric or the clearest sum of all; None without two modes.

    stored: [metric, round] of float64; they are looked at as they are, and without drift.
    """
    rows = np.frombuffer(stored).reshape(metrics, -1)
    if rows.shape[1] < FEWEST_ROUNDS:
        return None
    flat = _without_drift(rows)
    found = [one for view in ([rows] if flat is rows else [rows, flat]) for one in _clear_series(view)]
    if not found:
        return None
    x, fit = max(found, key=lambda one: one[1].separation)
    return np.asarray(x - fit.low > fit.gap / 2)


def _clear_series(rows: Floats) -> list[tuple[Floats, Fit]]:
    seeds = [row for row in rows if may_have_two(row) or may_have_two(np.sort(row)[:-1])]
    clear = _clear(seeds, len(rows))
    return clear + _clear([_sum_of_all(rows, seed) for seed in ([clear[0][0]] if clear else seeds)], len(rows))


def _clear(series: Sequence[Floats], looked_at: int) -> list[tuple[Floats, Fit]]:
    """Those with two clear levels, the clearest first; the more were looked at, the more each must gain."""
    gain = GAIN + math.log(looked_at)
    fits = [(x, fit) for x in series if (fit := clear_fit(x, gain)) is not None]
    return sorted(fits, key=lambda one: -one[1].separation)


def _sum_of_all(rows: Floats, seed: Floats) -> Floats:
    """Fisher's discriminant of all metrics, from how a first metric sorts the rounds."""
    fit = fit_two(seed)
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
    return Companions(mine, found.gap, found.sd, found.slow_share) if found.gap >= ASKED * found.sd else None


def _spreads(levelled: Floats, sizes: tuple[int, ...], most: float) -> tuple[float, float, float]:
    """Standard deviation within sessions and between them, and degrees of freedom, of rounds with the gap taken off."""
    means, squares = within_sessions(levelled, sizes)
    df = float(max(len(levelled) - len(means), 1))
    within = squares / df
    if within == 0:  # one round a session: the two cannot be told apart
        within, df = float(levelled.var()) / 2, float(len(means) - 1)
    between = float(means.var()) - within * len(means) / len(levelled)
    return math.sqrt(max(within, 1e-12)), math.sqrt(min(max(between, 0.1 * within), most)), df
