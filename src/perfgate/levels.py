"""Metrics whose rounds lie on two levels, or have heavy tails: found in stored rounds, named, and weighed.

A process that starts in a slow mode (another clock, another memory layout, a host-bound launch path)
stays in it: rounds of one engine then scatter about two levels, 4 to 26 % apart where it was seen.
As plain variance that would hide any smaller change; so the rounds of such a metric enter the
evidence with a mixture of two normal densities, weights and gap as the stored rounds have them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from perfgate.noise import DOUBT, UNKNOWN_DAY, Floats, within_sessions

FEWEST_ROUNDS = 12  # stored rounds below which nothing is said of levels or tails
FEWEST_ON_A_LEVEL = 3
SEPARATION = 5.0  # gap between the levels in standard deviations of one
BETWEEN_THEM = 0.05  # share of the rounds that may lie in the middle third of the gap: a skewed tail fills it
GAIN = 8.0  # log-likelihood that two levels must gain over one (3 more parameters; BIC wants 1.5 ln n each)
STEPS = 25
BIMODAL = 0.5  # of Sarle's coefficient; a normal distribution has 1/3, a uniform one 5/9
_NODES = np.linspace(-4, 4, 81)  # of the session effect, in standard deviations
MOST_NODES = 400
_CHANCES = np.array([0.1, 0.35, 0.65, 0.9])  # of the variance within a level


@dataclass(frozen=True, slots=True)
class TwoLevels:
    """Two levels of one metric, log units relative to the level that the store expects today.

    low: the fast level; gap: from it to the slow one; slow_share: rounds on the slow one;
    sd: within a level; df: degrees of freedom behind it; day_sd: of today's levels about these.
    """

    low: float
    gap: float
    slow_share: float
    sd: float
    df: float
    day_sd: float

    @property
    def words(self) -> str:
        return f"two levels {math.expm1(self.gap):.0%} apart, {self.slow_share:.0%} of stored rounds on the slow one"

    def log_likelihood(self, rows: Floats, left_out_from: int) -> Floats:
        """ln density of rounds, session effect and variance integrated out numerically.

        The first entry is that of all rounds; those without each round from `left_out_from` on follow.
        """
        sd = self.sd * np.sqrt(self.df / special.chdtri(self.df, 1 - _CHANCES))[:, None]
        effects, log_weights = self._session_effects(rows - self.low)
        r = (rows - self.low)[:, None, None] - effects
        fast, slow = 0.5 * (r / sd) ** 2, 0.5 * ((r - self.gap) / sd) ** 2
        nearer = np.minimum(fast, slow)
        mixed = (1 - self.slow_share) * np.exp(nearer - fast) + self.slow_share * np.exp(nearer - slow)
        each = np.log(mixed) - nearer - np.log(sd)
        whole = each.sum(axis=0) + log_weights
        stack = np.concatenate([whole[None], whole - each[left_out_from:]]).reshape(1 + len(rows) - left_out_from, -1)
        top = stack.max(axis=1)
        return np.asarray(top + np.log(np.exp(stack - top[:, None]).sum(axis=1)))

    def _session_effects(self, about_low: Floats) -> tuple[Floats, Floats]:
        """Session effects to sum over, with their log-weights.

        Those that the stored sessions let expect and, with probability `DOUBT`, any that today's rounds may show.
        """
        expected = -0.5 * _NODES**2
        expected -= np.log(np.exp(expected).sum())
        if not len(about_low):
            return self.day_sd * _NODES, expected
        low, high = float(about_low.min()) - self.gap - 3 * self.sd, float(about_low.max()) + 3 * self.sd
        any_other = np.linspace(low, high, min(MOST_NODES, math.ceil(2 * (high - low) / self.sd) + 2))
        density = -0.5 * (any_other**2 / UNKNOWN_DAY + math.log(2 * math.pi * UNKNOWN_DAY))
        doubted = math.log(DOUBT) + density + math.log(any_other[1] - any_other[0])
        return np.append(self.day_sd * _NODES, any_other), np.append(math.log1p(-DOUBT) + expected, doubted)

    def is_slow(self, rows: Floats) -> Floats:
        """1 for rounds that lie nearer to the slow level."""
        return np.asarray(rows - self.low > self.gap / 2, dtype=np.float64)

    def levelled(self, rows: Floats) -> Floats:
        """Rounds with the gap taken off the slow ones, about the store's expected level."""
        return np.asarray(rows - self.low - self.gap * self.is_slow(rows))


def find_levels(values: Floats, sizes: tuple[int, ...], day_var: float) -> TwoLevels | None:
    """Two levels in stored rounds (log units about today's expected level), where they are beyond doubt.

    Rounds that changed level once and stayed there are no two levels but a step: levels must take turns.
    """
    if len(values) < FEWEST_ROUNDS or not _may_have_two(values):
        return None
    fitted = _fit(values)
    if fitted is None:
        return None
    low, gap, share = fitted
    slow = values - low > gap / 2
    if (slow[1:] != slow[:-1]).sum() < share * (1 - share) * len(values):  # half of what chance would give
        return None
    sd, day_sd, df = _spreads(values - low - gap * slow, sizes, day_var)
    return TwoLevels(low, gap, share, sd, df, day_sd)


def _may_have_two(values: Floats) -> bool:
    """A cheap screen: Sarle's bimodality coefficient."""
    z = values - values.mean()
    square = z * z
    var = float(square.mean())
    if var == 0:
        return False
    skew, kurtosis = float(square @ z) / len(z) / var**1.5, float(square @ square) / len(z) / var**2
    return bool((skew**2 + 1) / kurtosis > BIMODAL)


def _fit(x: Floats) -> tuple[float, float, float] | None:
    """Level, gap and share of the slow level, by EM with one variance; None where a single normal serves."""
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
    each = np.logaddexp(
        math.log1p(-share) - 0.5 * ((x - low) / sd) ** 2, math.log(share) - 0.5 * ((x - high) / sd) ** 2
    )
    gain = float(each.sum()) - len(x) * math.log(sd) + len(x) * (math.log(float(x.std())) + 0.5)
    between = float((np.abs(x - (low + high) / 2) < (high - low) / 6).mean())
    is_clear = gain >= GAIN and high - low >= SEPARATION * sd and between <= BETWEEN_THEM
    return (low, high - low, share) if is_clear else None


def _spreads(levelled: Floats, sizes: tuple[int, ...], most: float) -> tuple[float, float, float]:
    """Standard deviation within sessions and between them, and degrees of freedom, of rounds with the gap taken off."""
    means, squares = within_sessions(levelled, sizes)
    df = float(max(len(levelled) - len(means), 1))
    within = squares / df
    if within == 0:  # one round a session: the two cannot be told apart
        within, df = float(levelled.var()) / 2, float(len(means) - 1)
    between = float(means.var()) - within * len(means) / len(levelled)
    return math.sqrt(max(within, 1e-12)), math.sqrt(min(max(between, 0.1 * within), most)), df


def heavy_tail(values: Floats) -> str:
    """Words for tails far heavier than a normal distribution's, or nothing: rounds beyond 5 robust deviations."""
    if len(values) < FEWEST_ROUNDS:
        return ""
    centre = float(np.median(values))
    sd = 1.4826 * float(np.median(np.abs(values - centre)))
    wild = int((np.abs(values - centre) > 5 * sd).sum()) if sd > 0 else 0
    return f"heavy tails, {wild} of {len(values)} stored rounds far off" if wild else ""
