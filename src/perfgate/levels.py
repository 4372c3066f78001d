"""Metrics whose rounds lie on two levels, or have heavy tails: their likelihood, and words for them.

A process that starts in a slow mode (another clock, another memory layout, a host-bound launch path)
stays in it: rounds of one engine then scatter about two levels, 4 to 26 % apart where it was seen.
As plain variance that would hide any smaller change; so the rounds of such a metric enter the
evidence with a mixture of two normal densities, weights and gap as the stored rounds have them.
Where the metric is too noisy to tell its own rounds' levels, the engine's other metrics may (`perfgate.told`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import special

from perfgate.noise import DOUBT, UNKNOWN_DAY, Floats
from perfgate.percent import percent
from perfgate.wild import robust_sd, tame_on_levels

FEWEST_ROUNDS = 12  # stored rounds below which nothing is said of levels or tails
TELLING = 5.0  # gap in standard deviations from which on a value tells its level
_NODES = np.linspace(-4, 4, 81)  # of the session effect, in standard deviations
MOST_NODES = 400
NOTHING = 40.0  # a summand smaller than the largest by e^40 adds nothing to a sum of doubles
GRID = 1.5  # the likelihood between two slowdowns tried is no more than e^(GRID^2/8), 1.3 times, that at the nearer
_CHANCES = np.array([0.1, 0.35, 0.65, 0.9])  # of the variance within a level


class OnLevels(Protocol):
    """A metric with two levels, and its likelihood."""

    @property
    def words(self) -> str: ...

    def log_likelihood(self, a: Floats, b: Floats) -> Floats:
        """ln density of the rounds of both sides, log units about the expected level.

        The first entry is that of all rounds; those without each round, of a and then of b, follow.
        """

    def slowdowns(self, a: Floats, b: Floats) -> Floats:
        """Slowdowns among which every peak of the likelihood is nearly met."""

    def levelled(self, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """Rounds with the gap taken off the slow ones, about the store's expected level."""

    def tame(self, side: Floats) -> Floats:
        """Rounds of one side with wild ones taken in (`perfgate.wild`)."""

    def alone(self, wider: float) -> OnLevels:
        """The same where stored rounds alone decide (`noise.Store.alone`); wider: factor of the day's deviation."""


@dataclass(frozen=True, slots=True)
class TwoLevels:
    """Two levels of one metric, log units relative to the level that the store expects today.

    low: the level of fast rounds; gap: from it to that of slow ones (negative where the slow mode is better for
    this metric); slow_share: rounds that are slow; sd: within a level; df: degrees of freedom behind it;
    day_sd: of today's levels about these; doubt: probability that the stored levels say nothing of today.
    """

    low: float
    gap: float
    slow_share: float
    sd: float
    df: float
    day_sd: float
    doubt: float = DOUBT

    def alone(self, wider: float) -> TwoLevels:
        return replace(self, day_sd=self.day_sd * wider, doubt=0.0)

    @property
    def words(self) -> str:
        apart = math.expm1(abs(self.gap))
        return f"two levels {percent(apart, 0)} apart, {percent(self.slow_share, 0)} of stored rounds on the slow one"

    @property
    def tells_itself(self) -> bool:
        """Whether a round's own value tells its level."""
        return abs(self.gap) >= TELLING * self.sd

    def log_likelihood(self, a: Floats, b: Floats) -> Floats:
        """Session effect and variance integrated out numerically."""
        rows = np.concatenate([a, b])
        sd = self.sd * np.sqrt(self.df / special.chdtri(self.df, 1 - _CHANCES))[:, None]
        effects, log_weights = self._session_effects(rows - self.low)
        r = (rows - self.low)[:, None, None] - effects
        fast, slow = 0.5 * (r / sd) ** 2, 0.5 * ((r - self.gap) / sd) ** 2
        nearer = np.minimum(fast, slow)
        mixed = (1 - self.slow_share) * np.exp(nearer - fast) + self.slow_share * np.exp(nearer - slow)
        each = (np.log(mixed) - nearer - np.log(sd)).reshape(len(rows), len(sd) * len(effects))
        whole = each.sum(axis=0) + np.broadcast_to(log_weights, mixed.shape[1:]).ravel()
        likeliest = int(whole.argmax())
        least = whole[likeliest] - each[:, likeliest].max(initial=0.0) - NOTHING
        counts = whole - each.min(axis=0, initial=0.0) >= least  # with all rounds, or without some round
        stack = np.concatenate([whole[None, counts], whole[counts] - each[:, counts]])
        top = stack.max(axis=1)
        return np.asarray(top + np.log(np.exp(stack - top[:, None]).sum(axis=1)))

    def _session_effects(self, about_low: Floats) -> tuple[Floats, Floats]:
        """Session effects to sum over, with their log-weights.

        Those that the stored sessions let expect and, with probability `doubt`, any that today's rounds may show.
        """
        expected = -0.5 * _NODES**2
        expected -= np.log(np.exp(expected).sum())
        if not len(about_low) or not self.doubt:
            return self.day_sd * _NODES, expected
        low = float(about_low.min()) - max(self.gap, 0.0) - 3 * self.sd
        high = float(about_low.max()) - min(self.gap, 0.0) + 3 * self.sd
        any_other = np.linspace(low, high, min(MOST_NODES, math.ceil(2 * (high - low) / self.sd) + 2))
        density = -0.5 * (any_other**2 / UNKNOWN_DAY + math.log(2 * math.pi * UNKNOWN_DAY))
        doubted = math.log(self.doubt) + density + math.log(any_other[1] - any_other[0])
        return np.append(self.day_sd * _NODES, any_other), np.append(math.log1p(-self.doubt) + expected, doubted)

    def slowdowns(self, a: Floats, b: Floats) -> Floats:
        """Every way to read which rounds were slow has its peak here, `GRID` of its deviations from the next.

        The estimate of a slowdown, the slow rounds being known, has the variance of the candidate's mean, and of
        today's level as the baseline's rounds and the store together tell it.
        """
        if not len(b):
            return np.empty(0)
        known, gap = np.append(a, self.low), abs(self.gap)
        var = self.sd**2 / len(b) + 1 / (len(a) / self.sd**2 + 1 / self.day_sd**2)
        step = GRID * math.sqrt(var)
        return np.arange(b.min() - known.max() - gap, b.max() - known.min() + gap + step, step)

    def levelled(self, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """Each round by the level it is nearer to."""
        return self._nearer(a - self.low), self._nearer(b - self.low)

    def tame(self, side: Floats) -> Floats:
        return tame_on_levels(side, self.gap, self.sd)

    def _nearer(self, about_low: Floats) -> Floats:
        return np.asarray(about_low - self.gap * (np.abs(about_low - self.gap) < np.abs(about_low)))


def heavy_tail(values: Floats) -> str:
    """Words for tails far heavier than a normal distribution's, or nothing: rounds beyond 5 robust deviations."""
    if len(values) < FEWEST_ROUNDS:
        return ""
    off = values - float(np.median(values))
    sd = robust_sd(off)
    wild = int((np.abs(off) > 5 * sd).sum()) if sd > 0 else 0
    return f"heavy tails, {wild} of {len(values)} stored rounds far off" if wild else ""
