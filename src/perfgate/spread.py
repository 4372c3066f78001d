"""How much rounds of one unchanged engine differ: spreads with their uncertainty, their ratios, and drift.

All values are natural logarithms of a metric, so that a spread of 0.02 is 2 %. Few rounds tell a
standard deviation badly (six: within a factor of two), so that every one here has its degrees of
freedom and an interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from perfgate.noise import Floats

CONFIDENCE = 0.9  # of every interval of a spread or of a ratio of spreads

# Factors that make the median absolute deviation of few normal values unbiased: Croux and Rousseeuw,
# 'Time-efficient algorithms for two highly robust estimators of scale', COMPSTAT 1992, table 1.
_MAD_FACTORS = {2: 1.196, 3: 1.495, 4: 1.363, 5: 1.206, 6: 1.200, 7: 1.140, 8: 1.129, 9: 1.107}
_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Spread:
    """A standard deviation in log units, its degrees of freedom, and the same from medians.

    robust: what it would be without the wildest values; None where it cannot be told.
    """

    sd: float
    df: float
    robust: float | None = None

    @property
    def low(self) -> float:
        """Lower end of the interval: df s^2 / sigma^2 is chi-square of df degrees of freedom."""
        return self.sd * math.sqrt(self.df / special.chdtri(self.df, (1 - CONFIDENCE) / 2))

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.sd * math.sqrt(self.df / special.chdtri(self.df, (1 + CONFIDENCE) / 2))


def round_spread(sessions: Sequence[Sequence[Sequence[float]]]) -> Spread | None:
    """Spread of single rounds within a session: [session][side][round], a side's n-th being the other's pair.

    Rounds beside each other are disturbed alike, so that both sides tell less than twice what one tells:
    of a bivariate normal distribution with correlation r, variances correlate by r^2, hence df / (1 + r^2).
    None where no side has two rounds.
    """
    sides = [np.asarray(side) for session in sessions for side in session if len(side) > 1]
    df = float(sum(len(side) - 1 for side in sides))
    if not df:
        return None
    squares = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    robust = sum((len(side) - 1) * mad_sd(side) ** 2 for side in sides) / df
    return Spread(math.sqrt(squares / df), df / (1 + _pair_correlation(sessions) ** 2), math.sqrt(robust))


def pair_spread(differences: Sequence[float]) -> Spread | None:
    """Spread of the differences within pairs of one engine with itself: about zero, as nothing differs."""
    if not differences:
        return None
    d = np.asarray(differences)
    robust = _MAD * float(np.median(np.abs(d))) if len(d) > 2 else None  # noqa: PLR2004 - two have no middle one
    return Spread(math.sqrt(float((d**2).mean())), float(len(d)), robust)


def session_spread(sessions: Sequence[Sequence[float]]) -> Spread | None:
    """Spread between sessions [session][round], without what their rounds' own spread explains.

    Method of moments of a one-way random-effects model (Searle, Casella and McCulloch, 'Variance
    Components', 1992, section 3.6). None for fewer than two sessions, or where no session has two rounds.
    """
    rows = [np.asarray(one) for one in sessions if len(one)]
    df = sum(len(row) - 1 for row in rows)
    if len(rows) < 2 or not df:  # noqa: PLR2004 - a spread needs two
        return None
    within = sum(float(((row - row.mean()) ** 2).sum()) for row in rows) / df
    between = float(np.var([row.mean() for row in rows], ddof=1))
    share = float(np.mean([1 / len(row) for row in rows]))
    return Spread(math.sqrt(max(between - within * share, 0.0)), float(len(rows) - 1))


def _pair_correlation(sessions: Sequence[Sequence[Sequence[float]]]) -> float:
    """Correlation of the two sides' rounds about their own means; 0 where sides do not match."""
    pairs = [tuple(map(np.asarray, one)) for one in sessions if len({len(side) for side in one}) == 1 < len(one)]
    if not pairs:
        return 0.0
    a, b = (np.concatenate([one[side] - one[side].mean() for one in pairs]) for side in (0, 1))
    scale = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def mad_sd(values: Floats) -> float:
    """Standard deviation from the median absolute deviation, unbiased for few normal values."""
    n = len(values)
    factor = _MAD_FACTORS.get(n, n / (n - 0.8))
    return factor * _MAD * float(np.median(np.abs(values - np.median(values))))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two variances with its interval: below one, the first is smaller."""

    value: float
    low: float
    high: float


def variance_ratio(one: Spread, other: Spread) -> Ratio | None:
    """Variance of `one` over that of `other`, from separate rounds; None where the other is zero.

    The interval is that of Snedecor's F distribution with the degrees of freedom of both.
    """
    if other.sd == 0:
        return None
    value = (one.sd / other.sd) ** 2
    low, high = (
        value / float(special.fdtri(one.df, other.df, level)) for level in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)
    )
    return Ratio(value, low, high)


def pooled_ratio(pairs: Sequence[Sequence[tuple[Spread, Spread]]]) -> Ratio | None:
    """What separate engines say together of a variance ratio: [engine][case] of (changed, unchanged).

    The mean of ln F over engines, weighted by what each tells; ln F has variance trigamma(df1/2) +
    trigamma(df2/2) and is about normal. Cases of one engine share their rounds and count as one.
    """
    means, variances = [], []
    for cases in pairs:
        known = [(a, b) for a, b in cases if a.sd > 0 and b.sd > 0]
        if known:
            means.append(float(np.mean([2 * math.log(a.sd / b.sd) for a, b in known])))
            variances.append(float(np.mean([special.polygamma(1, [a.df / 2, b.df / 2]).sum() for a, b in known])))
    if not means:
        return None
    weights = 1 / np.asarray(variances)
    centre, half = float(np.average(means, weights=weights)), _normal_half() / math.sqrt(float(weights.sum()))
    return Ratio(math.exp(centre), math.exp(centre - half), math.exp(centre + half))


def _normal_half() -> float:
    return float(special.ndtri((1 + CONFIDENCE) / 2))


def differ(one: Sequence[float], other: Sequence[float]) -> float:
    """p value of 'both spreads are the same', for differences of the same pairs in two summaries.

    Pitman and Morgan's test (Biometrika 31, 1939): two variances are equal exactly where sum and
    difference are uncorrelated. Two-sided, about zero means; 1 where too few are known.
    """
    a, b = np.asarray(one), np.asarray(other)
    plus, minus = a + b, a - b
    scale = math.sqrt(float((plus**2).sum() * (minus**2).sum()))
    df = len(a) - 1
    if df < 1 or scale == 0:
        return 1.0
    r = min(abs(float((plus * minus).sum())) / scale, 1 - 1e-12)
    return 2 * (1 - float(special.stdtr(df, r * math.sqrt(df / (1 - r**2)))))


@dataclass(frozen=True, slots=True)
class Trend:
    """What rounds did over a session, in order.

    drift: the fitted change from first to last, log units; is_drift: whether chance hardly gives it
    (t test of the slope at 1 %); lag1: correlation of a round with the next, drift taken off.
    """

    drift: float
    is_drift: bool
    lag1: float


DRIFT_LEVEL = 0.01
_FEWEST_FOR_TREND = 6


def trend(values: Sequence[float]) -> Trend | None:
    """Drift and lag-1 correlation of rounds in order; None for fewer than six, or without any spread."""
    n = len(values)
    if n < _FEWEST_FOR_TREND:
        return None
    place = np.arange(n) - (n - 1) / 2
    y = np.asarray(values) - float(np.mean(values))
    slope = float((place * y).sum() / (place**2).sum())
    rest = y - slope * place
    left = float((rest**2).sum())
    if left <= 1e-24 * n:  # nothing but rounding
        return None
    error = math.sqrt(left / (n - 2) / float((place**2).sum()))
    bar = float(special.stdtrit(n - 2, 1 - DRIFT_LEVEL / 2))
    return Trend(slope * (n - 1), bool(abs(slope) > bar * error), float((rest[1:] * rest[:-1]).sum()) / left)
