"""Two levels in one series of numbers: where they are beyond doubt, a mixture of two normal densities is fitted.

Beyond doubt: the mixture must explain the rounds far better than one level does, be its shape a normal, a skewed
(lognormal from any origin) or a flat one, since those too look like two levels to a mixture of normals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from perfgate.noise import Floats
from perfgate.wild import MOST

FEWEST_ON_A_LEVEL = 3
SEPARATION = 3.5  # least gap between the levels in standard deviations of one
BETWEEN_THEM = 0.05  # share of the rounds, beyond what is to be expected, that may lie in the middle third of the gap
UNUSUAL = 2.0  # log-likelihood that skewed and flat noise must gain over normal noise to be believed
STEPS = 25
BIMODAL = 0.5  # of Sarle's coefficient; a normal distribution has 1/3, a uniform one 5/9
MOST_WILD = 3
_ORIGINS = np.geomspace(0.05, 20, 12)  # of a lognormal distribution, in deviations below the lowest round


@dataclass(frozen=True, slots=True)
class Fit:
    """Two levels: the lower one, the gap to the other, and the deviation within either."""

    low: float
    gap: float
    sd: float

    @property
    def separation(self) -> float:
        return self.gap / self.sd


def may_have_two(values: Floats) -> bool:
    """A cheap screen: Sarle's bimodality coefficient."""
    z = values - values.mean()
    square = z * z
    var = float(square.mean())
    if var == 0:
        return False
    skew, kurtosis = float(square @ z) / len(z) / var**1.5, float(square @ square) / len(z) / var**2
    return bool((skew**2 + 1) / kurtosis > BIMODAL)


def clear_fit(x: Floats, gain: float) -> Fit | None:
    """Two levels in one series, where a single normal does not serve; a few wild rounds (slow ones) apart."""
    ordered = np.sort(x)
    for wild in range(1 + min(MOST_WILD, max(1, len(x) // MOST))):
        if (fit := _clear_fit_of(ordered[: len(x) - wild], gain)) is not None:
            return fit
    return None


def _clear_fit_of(x: Floats, wanted: float) -> Fit | None:
    fit = fit_two(x) if may_have_two(x) else None
    if fit is None:
        return None
    share = float((x - fit.low > fit.gap / 2).mean())
    if not 0 < share < 1:
        return None
    fast, slow = (-0.5 * ((x - fit.low - gap) / fit.sd) ** 2 for gap in (0.0, fit.gap))
    each = np.logaddexp(math.log1p(-share) + fast, math.log(share) + slow)
    gain = float(each.sum()) - len(x) * math.log(fit.sd) - _one_level(x)
    between = float((np.abs(x - fit.low - fit.gap / 2) < fit.gap / 6).mean())
    is_clear = gain >= wanted and fit.separation >= SEPARATION and between <= BETWEEN_THEM + _to_expect(fit)
    return fit if is_clear else None


def _to_expect(fit: Fit) -> float:
    """Share of the rounds in the middle third of the gap, if each level is normal."""
    return float(special.ndtr(2 * fit.separation / 3) - special.ndtr(fit.separation / 3))


def _one_level(x: Floats) -> float:
    """ln of the largest likelihood of one level, up to a constant of the number of rounds."""
    normal = -len(x) * (math.log(float(x.std())) + 0.5)
    flat = len(x) * (0.5 * math.log(2 * math.pi) - math.log(float(np.ptp(x))))
    return max(normal, _skewed(x) - UNUSUAL, _skewed(-x) - UNUSUAL, flat - UNUSUAL)


def _skewed(x: Floats) -> float:
    """The same of a lognormal distribution from any origin below all rounds."""
    logs = np.log(x - x.min() + float(x.std()) * _ORIGINS[:, None])
    return float((-len(x) * (np.log(logs.std(axis=1)) + 0.5) - logs.sum(axis=1)).max())


def fit_two(x: Floats) -> Fit | None:
    """Levels and common deviation of a mixture of two normal distributions, by EM; None where it collapses."""
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
    return Fit(low, high - low, sd) if high > low else None
