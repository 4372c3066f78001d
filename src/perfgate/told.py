"""A metric too noisy to tell the modes of its own rounds, where its engine's other metrics tell them.

Given which rounds were slow, the gap can be taken off them, and what is left is a metric with one level:
its likelihood is the multivariate t of `perfgate.evidence`. What the companions tell is not certain, so the
likelihood is a mixture over readings of either side; and within a reading a round that is slow with chance w
enters as a value whose mode is unknown: less w times the gap, with w (1 - w) gap^2 more variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from perfgate.levels import TwoLevels
from perfgate.noise import UNKNOWN_DAY, Floats

SURE = 0.999  # most that companions may say of a round's mode


@dataclass(frozen=True, slots=True)
class Readings:
    """Ways to read which rounds of a side were slow: log-weight of each, and the chance of each round to be slow."""

    log_weight: Floats  # [reading]
    slow: Floats  # [reading, round]

    @property
    def chance(self) -> Floats:
        """Of each round to be slow, over all readings."""
        return np.asarray(np.exp(self.log_weight) @ self.slow)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of rounds weighted by their precision, for each reading: all that the likelihood needs of a side."""

    log_weight: Floats
    count: Floats
    weight: Floats
    value: Floats
    square: Floats


@dataclass(frozen=True, slots=True)
class Told:
    """Two levels of a metric, and what the engine's other metrics tell of the rounds of both sides."""

    levels: TwoLevels
    a: Readings
    b: Readings

    @property
    def words(self) -> str:
        return f"{self.levels.words}, told by the engine's other metrics"

    def alone(self, wider: float) -> Told:
        return replace(self, levels=self.levels.alone(wider))

    def levelled(self, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        low, gap = self.levels.low, self.levels.gap
        return a - low - gap * self.a.chance, b - low - gap * self.b.chance

    def slowdowns(self, a: Floats, b: Floats) -> Floats:
        return self.levels.slowdowns(a, b)

    def tame(self, side: Floats) -> Floats:
        return self.levels.tame(side)

    def log_likelihood(self, a: Floats, b: Floats) -> Floats:
        """A mixture over both sides' readings, session effect and variance integrated out."""
        ours, theirs = self._sums(a, self.a, 0, len(b)), self._sums(b, self.b, len(a), 0)
        return np.asarray(np.logaddexp.reduce(self._log_density(ours, theirs), axis=(1, 2)))

    def _sums(self, rows: Floats, told: Readings, before: int, after: int) -> _Sums:
        """Sums over all rounds, then over all but each of both sides: [1 + before + left out + after, reading]."""
        chance, gap = told.slow, self.levels.gap
        about = rows - self.levels.low - gap * chance
        weight = 1 / (1 + chance * (1 - chance) * (gap / self.levels.sd) ** 2)

        def total(terms: Floats) -> Floats:
            whole = terms.sum(axis=1)[None]
            return np.concatenate([whole.repeat(1 + before, axis=0), whole - terms.T, whole.repeat(after, axis=0)])

        return _Sums(
            told.log_weight + total(0.5 * np.log(weight)), total(np.ones_like(weight)), total(weight),
            total(weight * about), total(weight * about**2),
        )  # fmt: skip

    def _log_density(self, a: _Sums, b: _Sums) -> Floats:
        """[1 + left out, reading of a, reading of b]; on a day as expected, or (`TwoLevels.doubt`) on any other."""
        prior, doubt = a.log_weight[:, :, None] + b.log_weight[:, None], self.levels.doubt
        expected = self._log_t(a, b, self.levels.day_sd**2)
        if not doubt:
            return np.asarray(prior + expected)
        other = self._log_t(a, b, UNKNOWN_DAY)
        return np.asarray(prior + np.logaddexp(math.log1p(-doubt) + expected, math.log(doubt) + other))

    def _log_t(self, a: _Sums, b: _Sums, day_var: float) -> Floats:
        """Multivariate t, up to a constant of the number of rounds (`evidence._Model._log_t`, rounds weighted)."""
        count, weight, value, square = (
            getattr(a, name)[:, :, None] + getattr(b, name)[:, None] for name in ("count", "weight", "value", "square")
        )
        lam = day_var / self.levels.sd**2
        q = square - lam / (1 + weight * lam) * value**2
        scale = self.levels.df * self.levels.sd**2
        return np.asarray(-0.5 * np.log1p(weight * lam) - (self.levels.df + count) / 2 * np.log(scale + q))
