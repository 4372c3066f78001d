"""Which configurations no other one dominates, where noise takes none off the front.

Values are compared as differences of natural logarithms. A metric's noise is one standard deviation s for the whole
sweep, pooled over the configurations' rounds (with df degrees of freedom): few rounds of one configuration tell its own
badly. With n rounds each, differences of means up to

    limit = max(LEAST, t s sqrt(1/n_A + 1/n_B)),    t = the two-sided 95 % point of Student's t with df

are within the noise. A dominates B when it is ahead by more than the limit in some metric, behind by more than
min(limit, SLACK) in none, and ahead all in all: the sum of its leads is positive (the ratios' product is above 1).

SLACK keeps noise from deciding: a configuration that looks 30 % faster stays on the front also where the rounds cannot
prove it. The sum keeps dominations from going in a circle, 'not behind by much' not being transitive: the front is
never empty, and every dominated point is dominated, in one or more steps, by a point of the front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import special

from perfgate.metrics import CATALOGUE, Better, Kind

CONFIDENCE = 0.95  # of each comparison by itself
LEAST = 0.005  # differences up to this never count
SLACK = 0.02  # by so much may a dominating configuration look worse in a metric

Figures = Mapping[str, tuple[float, ...]]  # metric -> its positive value in each round


class Standing(Enum):
    """How one configuration stands to another in a metric."""

    BETTER = "better"
    SAME = "same"  # as far as the noise lets one tell
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Noise:
    """Spread of one round's log value; df 0: assumed, as no configuration has two rounds of the metric."""

    sd: float
    df: int

    def limit(self, n_a: int, n_b: int) -> float:
        """The difference of two means, of so many rounds, beyond which they differ."""
        point = (1 + CONFIDENCE) / 2
        t = float(special.stdtrit(self.df, point)) if self.df else float(special.ndtri(point))
        return max(LEAST, t * self.sd * math.sqrt(1 / n_a + 1 / n_b))


def noise_of(metric: str, every: Sequence[Figures], assumed: float) -> Noise:
    """A metric's noise over all configurations; what is exact or scored once has none."""
    rows = [np.log(found[metric]) for found in every if metric in found]
    df = sum(len(row) - 1 for row in rows)
    if df:
        return Noise(math.sqrt(sum(float(((row - row.mean()) ** 2).sum()) for row in rows) / df), df)
    return Noise(assumed if CATALOGUE[metric].kind is Kind.NOISY else 0.0, 0)


def lead(metric: str, a: Figures, b: Figures) -> float:
    """By how much A is ahead of B: the difference of mean logarithms, positive where A is better."""
    difference = float(np.log(a[metric]).mean() - np.log(b[metric]).mean())
    return -difference if CATALOGUE[metric].better is Better.LOWER else difference


def standing(metric: str, a: Figures, b: Figures, noise: Noise) -> Standing:
    """How A stands to B."""
    ahead, limit = lead(metric, a, b), noise.limit(len(a[metric]), len(b[metric]))
    if abs(ahead) <= limit:
        return Standing.SAME
    return Standing.BETTER if ahead > 0 else Standing.WORSE


def is_alike(metric: str, a: Figures, b: Figures, noise: Noise) -> bool:
    """Whether A is as good as B: behind neither clearly nor by much."""
    return lead(metric, a, b) >= -min(noise.limit(len(a[metric]), len(b[metric])), SLACK)


def dominates(a: Figures, b: Figures, noises: Mapping[str, Noise]) -> bool:
    """Whether A dominates B over these metrics; both have all of them."""
    if not all(is_alike(metric, a, b, noise) for metric, noise in noises.items()):
        return False
    ahead = any(standing(metric, a, b, noise) is Standing.BETTER for metric, noise in noises.items())
    return ahead and merit(a, noises) > merit(b, noises)


def merit(a: Figures, metrics: Iterable[str]) -> float:
    """The sum of a configuration's log values, better upwards."""
    signs = {metric: -1.0 if CATALOGUE[metric].better is Better.LOWER else 1.0 for metric in metrics}
    return sum(sign * float(np.log(a[name]).mean()) for name, sign in signs.items())


def dominators(every: Mapping[str, Figures], noises: Mapping[str, Noise]) -> dict[str, tuple[str, ...]]:
    """For each configuration those that dominate it; the front are those with none."""
    return {
        name: tuple(other for other, theirs in every.items() if other != name and dominates(theirs, mine, noises))
        for name, mine in every.items()
    }
