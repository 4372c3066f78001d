"""The likelihood of today's rounds as a function of the slowdown: formulas in `perfgate.evidence`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from perfgate.levels import OnLevels
from perfgate.noise import UNKNOWN_DAY, Floats, Store

Mixture = Sequence[tuple[Floats, float]]  # slowdowns [metric] with their weights
Without = Literal["nothing", "a", "b"]


class OneSide(Protocol):
    """All slowdowns on one side of a bound [metric]."""

    @property
    def bound(self) -> Floats: ...

    def within(self, slowdowns: Floats, row: int) -> Floats:
        """Those of a metric's slowdowns that lie there."""


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Slowdowns of so much and more."""

    bound: Floats

    def within(self, slowdowns: Floats, row: int) -> Floats:
        return np.asarray(slowdowns[slowdowns > self.bound[row]])


@dataclass(frozen=True, slots=True)
class AtMost:
    """Slowdowns of so much and less, improvements too."""

    bound: Floats

    def within(self, slowdowns: Floats, row: int) -> Floats:
        return np.asarray(slowdowns[slowdowns < self.bound[row]])


class Model:
    """Likelihood of today's rounds, about the expected level, as a function of the slowdown."""

    def __init__(self, store: Store, a: Floats, b: Floats, two_levels: Mapping[int, OnLevels]) -> None:
        self.store, self.a, self.b, self.two_levels = store, a, b, two_levels
        self._worked_out: dict[tuple[int, float], Floats] = {}
        self._peaks: dict[int, Floats] = {}
        self.count_a, self.count_b = (np.isfinite(side).sum(axis=1).astype(float) for side in (a, b))
        self._sum_a, self._square_a = np.nansum(a, axis=1), np.nansum(a**2, axis=1)
        self._zero = np.zeros(len(b))

    def ratio(self, alternatives: Mixture, null: OneSide) -> Floats:
        """ln E of a mixture of slowdowns against the best of the null: [metric]."""
        return self._ratio("nothing", alternatives, null)[:, 0]

    def least_without_one(self, side: Literal["a", "b"], alternatives: Mixture, null: OneSide) -> Floats:
        """The smallest ln E without any one round of a side; infinite where it has none."""
        each = self._ratio(side, alternatives, null)
        measured = np.isfinite(self.a if side == "a" else self.b)
        return np.asarray(np.where(measured, each, np.inf).min(axis=1, initial=np.inf))

    def _ratio(self, without: Without, alternatives: Mixture, null: OneSide) -> Floats:
        """[metric, left out]; NaN where a metric has fewer rounds than others."""
        parts = np.stack([self._fit(slowdown, without) + math.log(weight) for slowdown, weight in alternatives])
        with np.errstate(invalid="ignore"):
            mixed = np.logaddexp.reduce(parts, axis=0)
            found = np.asarray(mixed - self._fit(null.bound, without))
        for row in self.two_levels:
            place = self._place(row, without)
            at_bound = self._on_levels(row, float(null.bound[row]))[place]
            mine = mixed[row, : len(at_bound)]
            if (mine > at_bound).any():  # else the bound is explanation enough
                found[row, : len(mine)] = mine - self._best_on_levels(row, null)[place]
        return found

    def _best_on_levels(self, row: int, null: OneSide) -> Floats:
        """The largest likelihood of a metric with two levels under any slowdown of the null, as in `_on_levels`."""
        if row not in self._peaks:
            self._peaks[row] = self.two_levels[row].slowdowns(*self._measured(row))
        tried = [float(null.bound[row]), *null.within(self._peaks[row], row)]
        return np.asarray(np.max([self._on_levels(row, slowdown) for slowdown in tried], axis=0))

    def _fit(self, slowdown: Floats, without: Without) -> Floats:
        """Likelihood without round j of a side: [metric, j]; of no meaning where there is no such round."""
        of_b = self.b - slowdown[:, None]
        out = {"nothing": self._zero[:, None], "a": self.a, "b": of_b}[without]
        total = (self._sum_a + np.nansum(of_b, axis=1))[:, None] - out
        square = (self._square_a + np.nansum(of_b**2, axis=1))[:, None] - out**2
        count = np.maximum(self.count_a + self.count_b - (without != "nothing"), 0)
        fitted = self._log_density(total.T, square.T, count).T
        for row in self.two_levels:
            mine = self._on_levels(row, float(slowdown[row]))[self._place(row, without)]
            fitted[row, : len(mine)] = mine
        return fitted

    def _place(self, row: int, without: Without) -> slice:
        """Where in `_on_levels` the likelihoods without a round of a side stand."""
        after_a = 1 + int(self.count_a[row])
        return {"nothing": slice(0, 1), "a": slice(1, after_a), "b": slice(after_a, None)}[without]

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
        unknown = np.full_like(self.store.day_var, UNKNOWN_DAY)
        believed, doubted = self._estimate_on(self.store.day_var), self._estimate_on(unknown)
        with np.errstate(divide="ignore"):
            odds = np.log1p(-self.store.doubt) - np.log(self.store.doubt) + believed[3] - doubted[3]
        change, error, df, _ = (np.where(odds >= 0, one, other) for one, other in zip(believed, doubted, strict=True))
        return change, error, df

    def _estimate_on(self, day_var: Floats) -> tuple[Floats, Floats, Floats, Floats]:
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
