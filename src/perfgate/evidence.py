"""Evidence about noisy metrics: sequential e-values for a slowdown, from the rounds of both engines.

The unit of evidence is a round (one process). Its value enters as y = ln(value), signed so that
larger is worse. Rounds of today's session share an unknown session effect s; rounds of the
candidate (B) carry the slowdown d that is asked for, rounds of the baseline's engine (A) do not:

    A: y = mu + s + e        B: y = mu + s + d + e        s ~ N(0, tau^2),  e ~ N(0, sigma^2)

with mu, tau and sigma from earlier sessions (`perfgate.noise`). Integrating s out, and sigma under
its scaled inverse-chi-squared distribution (nu degrees of freedom, scale sigma_p^2), makes the
likelihood a multivariate t, and the likelihood ratio for a slowdown d against a slowdown m

    ln E(d, m) = -(nu + n)/2 * ln[(nu sigma_p^2 + Q(d)) / (nu sigma_p^2 + Q(m))]
    Q(d) = sum r^2 - lambda/(1 + n lambda) (sum r)^2,   lambda = tau^2/sigma_p^2,  n = n_A + n_B
    r = y - mu for A,  y - mu - d for B

Under 'the slowdown is m' E is a non-negative martingale, so that by Ville's inequality
P(E ever reaches 1/a) <= a whatever the stopping rule and the order of the rounds (Ville 1939;
Ramdas et al., 'Game-theoretic statistics and safe anytime-valid inference', 2023). The weighted
mean of E over several alternatives is such a martingale too: `WORSE` keeps most of the weight at
`detect` and a little at larger slowdowns, so that these are found as fast. In the same way `FINE`
weighs what 'not slower' may mean against a slowdown of `detect`.

That holds while the stored level means something. On a day after a change of driver or of machine room
it does not, and both engines are off by the same; so with a small probability (`Store.doubt`) the
session effect is taken as unknown (`UNKNOWN_DAY`): then today's rounds of the baseline's engine alone
tell the level, and the likelihood is the mixture of both.

Where both engines take turns in one another's company, so that a disturbance hits both, what is
weighed are the differences within such pairs (A empty, mu = tau = 0, B the differences): their
spread is far smaller than that of the rounds themselves.

A metric with two levels (`perfgate.levels`) has a normal mixture in place of e ~ N; then s and
sigma are integrated out numerically, or, where the engine's other metrics tell which rounds were
slow, by the formulas above (`perfgate.told`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perfgate.levels import OnLevels
from perfgate.noise import UNKNOWN_DAY, Floats, Store

# Slowdowns tested for, in units of detect, and their weights. The large ones are there, close to each other, because
# a t density has heavy tails: a change of 10 times would fit one of 5 % no better than none.
WORSE = {1.0: 0.72, 1.5: 0.07, 2.25: 0.04, 3.4: 0.02, 5.0: 0.015} | dict.fromkeys((7.5, 11, 17, 25, 38, 57, 86), 0.01)
BETWEEN = 0.065  # weight of a slowdown half way from margin to detect: matters where noise is very small
# What "not slower" may be, likewise.
FINE = {0.0: 0.84, -1.0: 0.05} | dict.fromkeys((-2, -3.4, -5, -7.5, -11, -17, -25, -38, -57, -86), 0.006)
FINE_MARGIN = 0.05  # weight of a change of the margin's size, which is not slower either


@dataclass(frozen=True, slots=True)
class Evidence:
    """Log e-values and estimates per metric: arrays [metric]; `change` and `error` are in log units.

    Each `_robust` is the smallest such value when any one round is left out, of the candidate's for a change, of
    the baseline engine's for 'not worse': a single wild round must carry no verdict.
    """

    worse: Floats  # of a worsening, against no change
    worse_robust: Floats
    beyond: Floats  # of a worsening, against one of the margin's size
    better: Floats  # of an improvement, against no change
    better_robust: Floats
    better_beyond: Floats
    fine: Floats  # of 'not worse' against a worsening of `detect`
    fine_robust: Floats
    change: Floats
    error: Floats
    df: Floats
    rounds_a: Floats
    rounds_b: Floats


def weigh(
    store: Store,
    a: Floats,
    b: Floats,
    margin: Floats,
    detect: Floats,
    two_levels: Mapping[int, OnLevels] | None = None,
) -> Evidence:
    """Evidence of each metric's rounds.

    a, b: rounds of the baseline's engine and of the candidate [metric, round], log units, NaN padded;
    margin, detect: log units [metric]; two_levels: rows with two levels.
    """
    model = _Model(store, a - store.level[:, None], b - store.level[:, None], two_levels or {})
    changes = [_changes(margin, detect, sign) for sign in (1, -1)]
    worse, better = (model.ratio(one) for one in changes)
    worse_robust, better_robust = (
        np.where(model.count_b > 1, model.least_without_one(one, None, "b"), -np.inf) for one in changes
    )
    beyond, better_beyond = model.ratio(changes[0], margin), model.ratio(changes[1], -margin)
    nulls = [(k * detect, weight) for k, weight in FINE.items()] + [(margin, FINE_MARGIN)]
    fine = model.ratio(nulls, detect)
    fine_robust = np.minimum(fine, model.least_without_one(nulls, detect, "a"))
    return Evidence(
        worse, worse_robust, beyond, better, better_robust, better_beyond,
        fine, fine_robust, *model.estimate(), model.count_a, model.count_b,
    )  # fmt: skip


Mixture = Sequence[tuple[Floats, float]]  # slowdowns [metric] with their weights


def _changes(margin: Floats, detect: Floats, sign: float) -> Mixture:
    scaled = [(sign * k * detect, weight) for k, weight in WORSE.items()]
    return [*scaled, (sign * (margin + detect) / 2, BETWEEN)]


def padded(rows: Sequence[Floats]) -> Floats:
    """Rows of different lengths as one array, NaN padded."""
    out = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


class _Model:
    """Likelihood of today's rounds, about the expected level, as a function of the slowdown."""

    def __init__(self, store: Store, a: Floats, b: Floats, two_levels: Mapping[int, OnLevels]) -> None:
        self.store, self.a, self.b, self.two_levels = store, a, b, two_levels
        self._worked_out: dict[tuple[int, float], Floats] = {}
        self.count_a, self.count_b = (np.isfinite(side).sum(axis=1).astype(float) for side in (a, b))
        self._sum_a, self._square_a = np.nansum(a, axis=1), np.nansum(a**2, axis=1)
        self._zero = np.zeros(len(b))

    def ratio(self, alternatives: Mixture, null: Floats | None = None) -> Floats:
        """ln E of a mixture of slowdowns against one: [metric]."""
        return self._ratio(self._whole, alternatives, null)

    def least_without_one(self, alternatives: Mixture, null: Floats | None, side: Literal["a", "b"]) -> Floats:
        """The smallest ln E without any one round of a side; infinite where it has none."""
        each = self._ratio(lambda slowdown: self._left_out(slowdown, side), alternatives, null)
        measured = np.isfinite(self.a if side == "a" else self.b)
        return np.asarray(np.where(measured, each, np.inf).min(axis=1, initial=np.inf))

    def _ratio(self, fit: Callable[[Floats], Floats], alternatives: Mixture, null: Floats | None) -> Floats:
        parts = np.stack([fit(slowdown) + math.log(weight) for slowdown, weight in alternatives])
        with np.errstate(invalid="ignore"):  # NaN where a metric has fewer rounds than others
            return np.asarray(np.logaddexp.reduce(parts, axis=0) - fit(self._zero if null is None else null))

    def _whole(self, slowdown: Floats) -> Floats:
        r = self.b - slowdown[:, None]
        total, square = self._sum_a + np.nansum(r, axis=1), self._square_a + np.nansum(r**2, axis=1)
        fitted = self._log_density(total, square, self.count_a + self.count_b)
        for row in self.two_levels:
            fitted[row] = self._on_levels(row, float(slowdown[row]))[0]
        return fitted

    def _left_out(self, slowdown: Floats, side: Literal["a", "b"]) -> Floats:
        """The same without round j of a side: [metric, j]; of no meaning where there is no such round."""
        of_b = self.b - slowdown[:, None]
        out = self.a if side == "a" else of_b
        total = (self._sum_a + np.nansum(of_b, axis=1))[:, None] - out
        square = (self._square_a + np.nansum(of_b**2, axis=1))[:, None] - out**2
        fitted = self._log_density(total.T, square.T, np.maximum(self.count_a + self.count_b - 1, 0)).T
        for row in self.two_levels:
            found, before = self._on_levels(row, float(slowdown[row]))[1:], int(self.count_a[row])
            mine = found[:before] if side == "a" else found[before:]
            fitted[row, : len(mine)] = mine
        return fitted

    def _log_density(self, total: Floats, square: Floats, n: Floats) -> Floats:
        """ln of the density of n rounds, from the sum and the sum of squares of their residuals; metrics last.

        A mixture of what the stored level makes of today, and of a day of which it says nothing.
        """
        believed, doubted = (
            self._log_t(total, square, n, self.store.day_var),
            self._log_t(total, square, n, UNKNOWN_DAY),
        )
        doubt = self.store.doubt
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.logaddexp(np.log1p(-doubt) + believed, np.log(doubt) + doubted))

    def _log_t(self, total: Floats, square: Floats, n: Floats, day_var: Floats | float) -> Floats:
        """ln of the multivariate-t density, up to a constant of the number of rounds."""
        lam = day_var / self.store.round_var
        q = square - lam / (1 + n * lam) * total**2
        scale = self.store.df * self.store.round_var
        return np.asarray(-0.5 * np.log1p(n * lam) - (self.store.df + n) / 2 * np.log(scale + q))

    def _on_levels(self, row: int, slowdown: float) -> Floats:
        """Likelihood of a metric with two levels: of all rounds, then without each."""
        if (row, slowdown) not in self._worked_out:
            a, b = self._measured(row)
            self._worked_out[row, slowdown] = self.two_levels[row].log_likelihood(a, b - slowdown)
        return self._worked_out[row, slowdown]

    def estimate(self) -> tuple[Floats, Floats, Floats]:
        """Change, its standard error and degrees of freedom: minimum and curvature of Q."""
        believed, doubted = self._fit(self.store.day_var), self._fit(np.full_like(self.store.day_var, UNKNOWN_DAY))
        with np.errstate(divide="ignore"):
            odds = np.log1p(-self.store.doubt) - np.log(self.store.doubt) + believed[3] - doubted[3]
        change, error, df, _ = (np.where(odds >= 0, one, other) for one, other in zip(believed, doubted, strict=True))
        return change, error, df

    def _fit(self, day_var: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Change, standard error, degrees of freedom and log-density at the change."""
        store, n = self.store, self.count_a + self.count_b
        a, b = self._levelled()
        lam = day_var / store.round_var
        shrink = lam / (1 + n * lam)
        sum_a, sum_b = np.nansum(a, axis=1), np.nansum(b, axis=1)
        curve = np.maximum(self.count_b * (1 - shrink * self.count_b), 1e-12)
        change = (sum_b - shrink * self.count_b * (sum_a + sum_b)) / curve
        r = b - change[:, None]
        total, square = sum_a + np.nansum(r, axis=1), np.nansum(a**2, axis=1) + np.nansum(r**2, axis=1)
        df = np.maximum(store.df + n - 1, 1)
        lowest = np.maximum(square - shrink * total**2, 0)
        error = np.sqrt((store.df * store.round_var + lowest) / df / curve)
        return change, error, df, self._log_t(total, square, n, day_var)

    def _levelled(self) -> tuple[Floats, Floats]:
        """Rounds with the gap taken off the slow ones of a metric with two levels."""
        a, b = self.a.copy(), self.b.copy()
        for row, levels in self.two_levels.items():
            a[row, np.isfinite(a[row])], b[row, np.isfinite(b[row])] = levels.levelled(*self._measured(row))
        return a, b

    def _measured(self, row: int) -> tuple[Floats, Floats]:
        a, b = self.a[row], self.b[row]
        return a[np.isfinite(a)], b[np.isfinite(b)]
