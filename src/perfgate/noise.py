"""The noise of metrics, learnt from the rounds of earlier sessions over all metrics of a gate at once.

A round's value enters as y = ln(value), signed so that larger is worse:

    y = level + session effect + round effect

Three things are learnt per metric: today's level (a trimmed mean of the last sessions), the variance
between rounds of one session (pooled within sessions), and the variance of 'today minus the expected
level', from one-step-ahead errors of the level, so that it covers session effects, drift of the
machine and the level's own error at once. Two things are learnt over all metrics together:

- A metric's variances are shrunk towards the gate's typical ones, with the weight that their spread
  over the metrics supports (empirical Bayes: Smyth, 'Linear models and empirical Bayes methods',
  Stat. Appl. Genet. Mol. Biol. 3, 2004, section 6.2). Where few metrics are known, towards the
  suite's stated noise (`gate.noise`) with a weight of `PRIOR_DF`.
- Sessions differ by something that all engines share (a warm day, another clock): its share is the
  mean correlation of one-step errors between engines. `Store.seen_today` takes it out again, as
  the baseline rounds of the *other* engines show it today. Candidate rounds are never used for
  that, or a slower build would pass for a slower day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from perfgate.terms import Noise

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

PRIOR_DF = 4.0  # weight of the stated noise, in degrees of freedom
PAIR_PRIOR_DF = 2.0  # the same for pairs: lighter, so that pairs far noisier than stated raise no false alarm
LEVEL_WINDOW = 20  # sessions whose trimmed mean is the level expected today
MOST_SESSIONS = 60  # the newest sessions that are looked at
MOST_SHRUNK = 60.0  # degrees of freedom that the gate's typical variance may weigh
FEW_METRICS = 12  # fewer known metrics than this say nothing of the gate's typical noise
CAUTION = 0.6  # confidence of the upper bound that is taken for the day variance
ALONE_CAUTION = 0.95  # the same where stored rounds alone must decide
DOUBT = 0.02  # probability that a stored level says nothing of today: another driver, clock or machine room
UNKNOWN_DAY = 1.0  # day variance where no session is stored: today's baseline rounds alone tell the level


@dataclass(frozen=True, slots=True)
class Sessions:
    """Stored rounds of one metric: values in log units, session after session; rounds of each session.

    pinned: how many of the first sessions alone tell the level; 0: the newest of all do.
    """

    values: Floats
    sizes: tuple[int, ...]
    pinned: int = 0


@dataclass(frozen=True, slots=True)
class Store:
    """What is known of each metric before today: arrays [metric], in log units."""

    level: Floats  # expected today
    round_var: Floats  # between rounds of a session
    df: Floats  # degrees of freedom behind it
    day_var: Floats  # of today's level about the expected one
    day_df: Floats
    shared: Floats  # size of the session effect that all engines share
    doubt: Floats  # probability that the expected level says nothing of today

    @staticmethod
    def choose(where: NDArray[np.bool_], one: Store, other: Store) -> Store:
        """`one` for the metrics where it holds, `other` elsewhere."""
        names = [field.name for field in fields(Store)]
        return Store(*(np.where(where, getattr(one, name), getattr(other, name)) for name in names))

    def seen_today(self, rows: Floats, engines: Ints) -> Store:
        """What is known once today's baseline rounds of the other engines are seen.

        rows: today's baseline rounds [metric, round], NaN padded; engines: number of each metric's engine.
        A round of an engine with k metrics counts as about two independent ones, however large k is.
        """
        count = np.isfinite(rows).sum(axis=1)
        own = self.day_var - self.shared**2
        var = own + self.round_var / np.maximum(count, 1)
        mean = np.where(count > 0, np.nansum(rows, axis=1) / np.maximum(count, 1) - self.level, 0.0)
        most = 3 * np.sqrt(var + self.shared**2)
        weight = np.where(count > 0, self.shared / var, 0.0) * 2 / (1 + np.bincount(engines)[engines])
        pulls = _of_others(weight * np.clip(mean, -most, most), engines)
        precision = 1 + _of_others(weight * self.shared, engines)
        effect = pulls / precision
        return replace(self, level=self.level + self.shared * effect, day_var=own + self.shared**2 / precision)

    def alone(self) -> Store:
        """The same, with the caution that is due where no baseline round of today is at hand.

        The session effect is then a single draw from a distribution that few sessions have shown.
        """
        wider = _upper(self.day_df, ALONE_CAUTION) / _upper(self.day_df, CAUTION)
        return replace(self, df=np.minimum(self.df, self.day_df), day_var=self.day_var * wider, doubt=0 * self.doubt)


def _of_others(values: Floats, engines: Ints) -> Floats:
    """Sum over the metrics of all other engines: [metric]."""
    per_engine = np.bincount(engines, values)
    return np.asarray(per_engine.sum() - per_engine[engines])


def store_of_pairs(metrics: int, noise: Noise) -> Store:
    """The prior for differences within pairs: no level, no session effect, the stated spread."""
    zero = np.zeros(metrics)
    spread, df = np.full(metrics, noise.pair_sd**2), np.full(metrics, PAIR_PRIOR_DF)
    return Store(zero, spread, df, zero, df, zero, zero)


def learn(known: Sequence[Sessions], today: Sequence[Sequence[Floats]], engines: Ints, noise: Noise) -> Store:
    """Level, variances and shared session effect of every metric.

    known: each metric's stored sessions (there may be none); today: each metric's rounds of today,
    one array a side: their scatter about their own mean tells what noise is typical in this gate.
    """
    means, ends, size, squares, df = _summaries(known)
    round_var, total_df = _round_variance(squares, df, today, noise)
    level, errors, behind = _levels(means, ends)
    level = np.where(np.isfinite(level), level, [_level_of_today(sides) for sides in today])
    day_var, day_df, spread = _day_variance(errors, round_var, total_df, size, noise)
    seen = np.isfinite(means).sum(axis=1)
    settled = np.sqrt(1 + 1.2 / np.maximum(behind, 1))  # the level's own error; 1.2: trimmed mean, normal data
    day_var = np.where(seen > 0, np.maximum(day_var * settled**2 - round_var / size, 0.05 * round_var), UNKNOWN_DAY)
    shared = np.sqrt(_correlation(errors, engines) * spread)
    shared = np.where(seen > 0, np.minimum(shared, np.sqrt(0.95 * day_var)), 0.0)
    return Store(level, round_var, total_df, day_var, day_df, shared, np.full(len(known), DOUBT))


def _summaries(known: Sequence[Sessions]) -> tuple[Floats, Ints, Floats, Floats, Floats]:
    """Session means, where each metric's level ends, rounds a session, squares and degrees within.

    Means are [metric, session], newest last, NaN in front.
    """
    means, later = np.full((len(known), MOST_SESSIONS), np.nan), np.zeros(len(known), np.intp)
    size, squares, df = np.ones(len(known)), np.zeros(len(known)), np.zeros(len(known))
    for i, one in enumerate(known):
        if one.sizes:
            mine, squares[i] = within_sessions(one.values, one.sizes)
            df[i], size[i] = len(one.values) - len(mine), len(one.values) / len(mine)
            kept, later[i] = _looked_at(mine, one.pinned)
            means[i, MOST_SESSIONS - len(kept) :] = kept
    used = int(np.isfinite(means).sum(axis=1).max(initial=0))
    return means[:, MOST_SESSIONS - used :], used - later, size, squares, df


def _looked_at(means: Floats, pinned: int) -> tuple[Floats, int]:
    """At most the newest sessions, though never without those that pin the level; how many came after these."""
    if not pinned:
        return means[-MOST_SESSIONS:], 0
    later = means[pinned:][-(MOST_SESSIONS - min(pinned, LEVEL_WINDOW)) :]
    return np.concatenate([means[:pinned], later])[-MOST_SESSIONS:], len(later)


def within_sessions(values: Floats, sizes: Sequence[int]) -> tuple[Floats, float]:
    """The mean of each session, and the sum of squares of rounds about the mean of their session."""
    count = np.asarray(sizes)
    means = np.add.reduceat(values, np.cumsum(count) - count) / count
    return means, float(((values - np.repeat(means, count)) ** 2).sum())


def _round_variance(
    squares: Floats, df: Floats, today: Sequence[Sequence[Floats]], noise: Noise
) -> tuple[Floats, Floats]:
    """Variance between rounds and its degrees of freedom: stored scatter, shrunk to what is typical.

    Today's scatter only helps to find what is typical: it enters the evidence of its own metric anyway.
    """
    now = [[side - side.mean() for side in sides if len(side) > 1] for sides in today]
    scatter = squares + np.array([sum(float((side**2).sum()) for side in sides) for sides in now])
    seen = df + np.array([sum(len(side) - 1 for side in sides) for sides in now])
    typical, weight = _typical(scatter / np.maximum(seen, 1), seen, 0.0, noise.round_sd**2)
    return (weight * typical + squares) / (weight + df), weight + df


def _typical(var: Floats, df: Floats, extra: Floats | float, stated: float) -> tuple[float, float]:
    """The typical variance and the degrees of freedom that it is worth (Smyth 2004, section 6.2).

    extra: variance of ln(var) beside the sampling error of `df` degrees of freedom.
    """
    known = (df >= 1) & (var > 0)
    if known.sum() < FEW_METRICS:
        return stated, PRIOR_DF
    half = df[known] / 2
    logs = np.log(var[known]) - special.digamma(half) + np.log(half)
    sampling = special.polygamma(1, half) + np.broadcast_to(extra, var.shape)[known]
    weights = 1 / (sampling + 0.5)
    centre = float(np.average(logs, weights=weights))
    excess = float(np.average((logs - centre) ** 2 - sampling, weights=weights))
    worth = min(MOST_SHRUNK, 2 * _trigamma_inverse(excess)) if excess > 0 else MOST_SHRUNK
    return float(np.exp(centre + special.digamma(worth / 2) - np.log(worth / 2))), worth


def _trigamma_inverse(value: float) -> float:
    """x with trigamma(x) = value, by Newton's iteration on 1/trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(20):
        tri = float(special.polygamma(1, x))
        x += tri * (1 - tri / value) / float(special.polygamma(2, x))
    return max(x, 0.5)


def _levels(means: Floats, ends: Ints) -> tuple[Floats, Floats, Floats]:
    """The level expected today [metric] (NaN: unknown), one-step errors [metric, session], sessions behind the level.

    ends: the session from which on a metric's level stays as it is. Errors are scaled to what they would be if the
    level before them were known exactly.
    """
    sessions = means.shape[1]
    levels, counts = (np.full((len(means), sessions + 1), np.nan) for _ in range(2))
    for i in range(sessions + 1):
        past = means[:, max(0, i - LEVEL_WINDOW) : i]
        levels[:, i], counts[:, i] = _trimmed(past), np.isfinite(past).sum(axis=1)
    place = np.minimum(np.arange(sessions + 1), ends[:, None])
    levels, counts = np.take_along_axis(levels, place, 1), np.take_along_axis(counts, place, 1)
    errors = (means - levels[:, :-1]) / np.sqrt(1 + 1.2 / np.maximum(counts[:, :-1], 1))
    return levels[:, -1], errors, counts[:, -1]


def _level_of_today(sides: Sequence[Floats]) -> float:
    """A level for a metric without stored sessions: that of the first side with rounds."""
    return next((float(np.median(side)) for side in sides if len(side)), 0.0)


def _trimmed(rows: Floats) -> Floats:
    """Mean of each row without its lowest and highest fifth; NaN where a row is empty."""
    ordered = np.sort(rows, axis=1)  # NaN last
    count = np.isfinite(ordered).sum(axis=1)
    cut = count // 5
    place = np.arange(rows.shape[1])
    kept = (place >= cut[:, None]) & (place < (count - cut)[:, None])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(kept, ordered, 0.0).sum(axis=1) / np.where(count > 0, kept.sum(axis=1), np.nan))


def _day_variance(
    errors: Floats, round_var: Floats, df: Floats, size: Floats, noise: Noise
) -> tuple[Floats, Floats, Floats]:
    """Upper bound of the variance of session means about their level, its degrees of freedom, and the variance itself.

    Two thirds of the errors count as independent, since levels overlap. What is shrunk is the ratio
    to the round variance.
    """
    seen = np.isfinite(errors).sum(axis=1)
    ratio = np.nansum(errors**2, axis=1) / np.maximum(seen, 1) / round_var
    own_df = seen * 2 / 3
    stated = noise.session_sd**2 / noise.round_sd**2 + 1 / float(np.median(size)) if len(size) else 1.0
    typical, weight = _typical(ratio, own_df, special.polygamma(1, df / 2), stated)
    day_df = own_df + weight
    spread = (own_df * ratio + weight * typical) / day_df * round_var
    return spread * _upper(day_df, CAUTION), day_df, spread


def _upper(df: Floats, confidence: float) -> Floats:
    """Factor from a variance to its upper confidence bound."""
    return np.asarray(df / special.chdtri(df, confidence))


def _correlation(errors: Floats, engines: Ints) -> float:
    """Mean correlation of one-step errors between metrics of different engines; 0 where too little is known."""
    known = np.isfinite(errors)
    square = np.nansum(errors**2, axis=1) / np.maximum(known.sum(axis=1), 1)
    z = np.where(known, np.clip(errors / np.sqrt(np.where(square > 0, square, 1.0))[:, None], -3, 3), 0.0)
    groups = int(engines.max(initial=-1)) + 1
    sums, counts = np.zeros((groups, errors.shape[1])), np.zeros((groups, errors.shape[1]))
    np.add.at(sums, engines, z)
    np.add.at(counts, engines, known)
    products = float((sums.sum(axis=0) ** 2 - (sums**2).sum(axis=0)).sum())
    pairs = float((counts.sum(axis=0) ** 2 - (counts**2).sum(axis=0)).sum())
    return max(0.0, products / pairs) if pairs >= MOST_SESSIONS else 0.0
