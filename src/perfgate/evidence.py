"""Evidence about noisy metrics: sequential e-values for a slowdown, from rounds and pairs of rounds.

The unit of evidence is a round (one process). Its value enters as y = ln(value), signed so that
larger is worse. The rounds of one gate share an unknown session effect s:

    y = mu + s + delta + e,    s ~ N(0, tau^2),    e ~ N(0, sigma^2)

with mu, tau and sigma learnt from the baseline's sessions and from a stated prior worth `PRIOR_DF`
degrees of freedom. Integrating sigma out under its scaled inverse-chi-squared distribution (nu
degrees of freedom, scale sigma_p^2) makes the likelihood a multivariate t, and the ratio for a
slowdown d against a slowdown m

    ln E(d, m) = -(nu + n)/2 * ln[(nu sigma_p^2 + Q(d)) / (nu sigma_p^2 + Q(m))]
    Q(d) = sum r^2 - lambda/(1 + n lambda) (sum r)^2,   r = y - mu - d,   lambda = tau^2/sigma_p^2

Under 'no worse than m' E is a non-negative martingale, so that by Ville's inequality
P(E ever reaches 1/a) <= a whatever the stopping rule and the order of the rounds (Ville 1939;
Ramdas et al., 'Game-theoretic statistics and safe anytime-valid inference', 2023). The average of
E over several alternatives is such a martingale too: it is taken over `ALTERNATIVES` x detect, so
that a large slowdown is found as fast as a small one.

Where the baseline engine can still be run, its rounds are measured directly beside the candidate's
and the differences of such pairs are weighed instead: a difference is free of the session effect,
of the stored level and of any drift slower than a pair, so that its variance is learnt from the
pairs themselves and the stated prior alone. The same formulas serve, with r = (y_B - y_A) - d, tau = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from perfgate.suite import Noise

Floats = NDArray[np.float64]

PRIOR_DF = 4.0  # weight of the suite's stated noise against rounds seen, in degrees of freedom
PAIR_PRIOR_DF = 2.0  # the same for pairs: lighter, so that pairs far noisier than stated raise no false alarm
ALTERNATIVES = (1.0, 1.5, 2.5, 5.0)  # slowdowns tested for, in units of ln(1 + detect)
LEVEL_WINDOW = 10  # sessions whose median is the level expected today


@dataclass(frozen=True, slots=True)
class Store:
    """What is known of each metric beforehand: arrays [metric], in log units."""

    level: Floats  # mu
    round_var: Floats  # sigma_p^2
    day_var: Floats  # tau^2, the error of mu included
    df: Floats  # nu


def store_of_pairs(metrics: int, noise: Noise) -> Store:
    """The prior for differences within pairs: no level, no session effect, the stated spread."""
    zero = np.zeros(metrics)
    return Store(zero, np.full(metrics, noise.pair_sd**2), zero, np.full(metrics, PAIR_PRIOR_DF))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Log e-values and estimates per metric: arrays [metric]; `change` and `error` are in log units."""

    worse: Floats  # of a worsening beyond the margin
    worse_robust: Floats  # the same without its most telling round
    better: Floats  # of an improvement beyond the margin
    better_robust: Floats
    fine: Floats  # of 'not worse' against a worsening of `detect`
    change: Floats
    error: Floats
    df: Floats
    count: Floats  # rounds or pairs behind it


def stack(learnt: Sequence[tuple[float, float, float, float]]) -> Store:
    """What `learn` gave for each metric, as arrays."""
    return Store(*(np.array(column) for column in zip(*learnt, strict=True)))


def learn(values: Floats, sizes: Sequence[int], noise: Noise) -> tuple[float, float, float, float]:
    """Level, round variance, day variance and degrees of freedom of one metric's stored sessions.

    values: all rounds, session after session, in log units; sizes: rounds of each session.
    The stated noise counts as `PRIOR_DF` observations in both variances. The day variance comes
    from one-step errors of the running level, so that it covers drift and the level's own error.
    """
    count = np.asarray(sizes)
    means = np.add.reduceat(values, np.cumsum(count) - count) / count
    df = PRIOR_DF + float((count - 1).sum())
    square = float(((values - np.repeat(means, count)) ** 2).sum())
    round_var = (PRIOR_DF * noise.round_sd**2 + square) / df
    errors = means[1:] - _running_level(means)
    size = float(count.mean())
    seen = float((errors**2).sum()) - len(errors) * round_var / size
    day_var = (PRIOR_DF * noise.session_sd**2 + max(0.0, seen)) / (PRIOR_DF + len(errors))
    level_var = round_var / (size * min(len(means), LEVEL_WINDOW))
    return float(np.median(means[-LEVEL_WINDOW:])), round_var, max(day_var + level_var, 0.05 * round_var), df


def _running_level(means: Floats) -> Floats:
    """The median of up to `LEVEL_WINDOW` sessions before each session but the first."""
    early = [np.median(means[:i]) for i in range(1, min(len(means), LEVEL_WINDOW))]
    if len(means) <= LEVEL_WINDOW:
        return np.array(early)
    windows = np.lib.stride_tricks.sliding_window_view(means[:-1], LEVEL_WINDOW)
    return np.concatenate([early, np.median(windows, axis=1)])


def weigh(store: Store, rows: Sequence[Floats], margin: Floats, detect: Floats) -> Evidence:
    """Evidence of each metric's rounds (or differences of pairs); margin and detect in log units."""
    data = _padded(rows) - store.level[:, None]
    alternatives = [factor * detect for factor in ALTERNATIVES]
    nulls = [margin, np.zeros_like(margin), -detect, -2 * detect]

    def against(sign: float, fit: Callable[[Floats], Floats]) -> Floats:
        null = fit(sign * margin)
        return _log_mean_exp([fit(sign * d) - null for d in alternatives])

    def robust(sign: float) -> Floats:
        left_out = against(sign, lambda d: _log_likelihood_left_out(store, data, d))
        lowest = np.where(np.isfinite(data), left_out, np.inf).min(axis=1, initial=np.inf)
        return np.where(np.isfinite(data).sum(axis=1) > 1, lowest, -np.inf)

    def whole(d: Floats) -> Floats:
        return _log_likelihood(store, data, d)

    fine = _log_mean_exp([whole(d) for d in nulls]) - whole(detect)
    return Evidence(against(1, whole), robust(1), against(-1, whole), robust(-1), fine, *_estimate(store, data))


def _padded(rows: Sequence[Floats]) -> Floats:
    width = max((len(row) for row in rows), default=0)
    out = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def _log_mean_exp(parts: Sequence[Floats]) -> Floats:
    return np.asarray(special.logsumexp(np.stack(parts), axis=0) - math.log(len(parts)))


def _shrink(store: Store, n: Floats) -> Floats:
    """lambda / (1 + n lambda): the share of the common sum that the session effect explains."""
    lam = store.day_var / store.round_var
    return np.asarray(lam / (1 + n * lam))


def _log_likelihood(store: Store, data: Floats, delta: Floats) -> Floats:
    """ln of the multivariate-t density at a slowdown of delta, up to a constant: [metric]."""
    n = np.isfinite(data).sum(axis=1).astype(float)
    r = data - delta[:, None]
    q = np.nansum(r**2, axis=1) - _shrink(store, n) * np.nansum(r, axis=1) ** 2
    return np.asarray(-(store.df + n) / 2 * np.log(store.df * store.round_var + q))


def _log_likelihood_left_out(store: Store, data: Floats, delta: Floats) -> Floats:
    """The same without round j: [metric, j]; NaN where there is no such round."""
    n = np.isfinite(data).sum(axis=1).astype(float)
    r = data - delta[:, None]
    square, total = np.nansum(r**2, axis=1)[:, None] - r**2, np.nansum(r, axis=1)[:, None] - r
    q = square - _shrink(store, n - 1)[:, None] * total**2
    return np.asarray(-((store.df + n - 1) / 2)[:, None] * np.log((store.df * store.round_var)[:, None] + q))


def _estimate(store: Store, data: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Change, its standard error, degrees of freedom and count: Q's minimum and curvature."""
    n = np.isfinite(data).sum(axis=1).astype(float)
    many = np.maximum(n, 1)
    change = np.nansum(data, axis=1) / many
    lowest = np.nansum((data - change[:, None]) ** 2, axis=1)
    df = store.df + many - 1
    curve = many * (1 - many * _shrink(store, many))
    error = np.sqrt((store.df * store.round_var + lowest) / df / curve)
    return change, error, df, n
