"""Is the whole suite slower by a little, which no single metric shows?

Engines are the unit: metrics of one engine depend on each other, engines do not. Per engine, the pairs of
its metrics are weighted by the inverse of their variance, which is shrunken toward what is known beforehand or
toward the other engines' (Smyth 2004, 'Linear models and empirical Bayes methods'): two pairs alone know
little of their own scatter. The engines' estimates e_i, with weights w_i that no engine may dominate, are
summed up by a Huber location (Huber 1964), so that one engine with a large true change pulls it by no more
than `HUBER` scales, and judged by their own scatter around it, which assumes nothing of the weights:

    sum_i sqrt(w_i) psi(r_i) = 0,  r_i = sqrt(w_i) (e_i - theta) / s,  s = 1.4826 median |r_i|
    se^2 = K^2 s^2 sum_i w_i psi(r_i)^2 / (sum_i w_i psi'(r_i))^2 * m / (m - 1),  m = (sum w)^2 / sum w^2

against a Student t, as an excess over `TOLERANCE` (the sandwich of M-estimation with its correction K for few
observations: Huber and Ronchetti, 'Robust Statistics', chapters 6 and 7; m is Kish's effective number of engines).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

LEAST_ENGINES = 4
LEVEL = 0.005  # probability of a false 'slower', and as much of a false 'faster'
TOLERANCE = 0.001  # ABBA cancels a straight warm-up, not a curved one: 0.05 % remain of one that ends at 0.75 %
PRIOR_DF = 4.0  # weight of the variance known beforehand, or of the other engines', in degrees of freedom
WEIGHT_CAP = 4.0  # no engine weighs more than this many times the median engine
HUBER = 2.0  # scales at which an engine's pull ends
EFFICIENCY = 0.75  # share of m - 1 that counts as degrees of freedom: holds `LEVEL` down to 4 engines, by simulation


@dataclass(frozen=True, slots=True)
class Shift:
    """What all engines have in common.

    size, error: log units, larger is worse; None where there are too few engines, and `reason` says so.
    slower, faster: p-values of being beyond the tolerance. carriers: engines that stand out in the direction of the
    shift on their own, worst first.
    """

    size: float | None
    error: float | None
    slower: float
    faster: float
    engines: int
    carriers: tuple[int, ...] = ()
    reason: str = ""
    level: float = LEVEL

    @property
    def is_slower(self) -> bool:
        return self.slower < self.level

    @property
    def is_faster(self) -> bool:
        return self.faster < self.level


def suite_shift(pairs: Floats, *, pair_var: Floats | None = None, level: float = LEVEL) -> Shift:
    """The shift that engines share, from log-ratios candidate against baseline of this gate's pairs.

    pairs: [engine, metric, pair], larger is worse, NaN where not measured. pair_var: [engine, metric], the variance
    of one such log-ratio as history knows it, NaN where it does not.
    """
    estimate, weight = _engines(pairs, pair_var)
    seen = np.flatnonzero(weight > 0)
    if len(seen) < LEAST_ENGINES:
        return Shift(None, None, 1.0, 1.0, len(seen), (), f"{len(seen)} engines with pairs, {LEAST_ENGINES} are needed")
    estimate, precision = estimate[seen], weight[seen]
    capped = np.minimum(precision, WEIGHT_CAP * np.median(precision))
    size, error, df = _location(estimate, capped)
    slower, faster = (float(special.stdtr(df, (TOLERANCE - sign * size) / error)) for sign in (1, -1))
    alone = np.sign(size) * estimate * np.sqrt(precision)
    order = np.argsort(-alone)
    carriers = tuple(int(seen[i]) for i in order if alone[i] > special.ndtri(0.975))
    return Shift(size, error, slower, faster, len(seen), carriers, level=level)


def _engines(pairs: Floats, pair_var: Floats | None) -> tuple[Floats, Floats]:
    """Each engine's mean log-ratio and its precision [engine]; precision 0 where nothing was measured."""
    here = np.isfinite(pairs)
    count = here.sum(axis=2)
    mean = np.where(here, pairs, 0.0).sum(axis=2) / np.maximum(count, 1)
    square = np.where(here, (pairs - mean[:, :, None]) ** 2, 0.0).sum(axis=2)
    df = np.maximum(count - 1, 0)
    var = (PRIOR_DF * _prior(square, df, pair_var) + square) / (PRIOR_DF + df)
    weight = count / var
    total = weight.sum(axis=1)
    return (weight * mean).sum(axis=1) / np.where(total > 0, total, 1.0), total


def _prior(square: Floats, df: NDArray[np.int64], pair_var: Floats | None) -> Floats:
    """Variance of a pair [engine, metric] known beforehand, else the pooled one of that metric over engines."""
    pooled = square.sum(axis=0) / np.maximum(df.sum(axis=0), 1)
    least = max(float(pooled.max(initial=0.0)) * 1e-6, 1e-12)
    prior = np.broadcast_to(np.maximum(pooled, least), square.shape)
    return prior if pair_var is None else np.where(np.isfinite(pair_var), np.maximum(pair_var, least), prior)


def _location(estimate: Floats, weight: Floats) -> tuple[float, float, float]:
    """Huber's location of weighted estimates, its standard error and degrees of freedom."""
    root = np.sqrt(weight)
    theta = _weighted_median(estimate, weight)
    scale = max(1.4826 * float(np.median(np.abs(root * (estimate - theta)))), 1e-9)
    for _ in range(50):
        r = root * (estimate - theta) / scale
        trust = weight * np.minimum(1.0, HUBER / np.maximum(np.abs(r), 1e-12))
        theta, before = float((trust * estimate).sum() / trust.sum()), theta
        if abs(theta - before) < 1e-9 * scale / root.max():
            break
    r = root * (estimate - theta) / scale
    pull, slope = np.clip(r, -HUBER, HUBER), np.abs(r) < HUBER
    many = float(weight.sum() ** 2 / (weight**2).sum())
    share = max(float((weight * slope).sum() / weight.sum()), 1 / many)
    widening = 1 + (1 - share) / (many * share)
    error = widening * scale * math.sqrt(float((weight * pull**2).sum()) * many / (many - 1)) / share / weight.sum()
    return theta, max(error, 1e-12), EFFICIENCY * (many - 1)


def _weighted_median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values)
    share = np.cumsum(weight[order]) - weight[order] / 2
    return float(np.interp(weight.sum() / 2, share, values[order]))
