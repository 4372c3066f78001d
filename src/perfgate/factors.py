"""How many times a metric of one engine is that of another: a ratio over rounds, what it rests on, its noise.

Rounds that took turns are weighed in pairs, others by Welch's interval (`perfgate.versus` has both formulas). Rounds of
two runs are of two sessions: what sessions differ by is added to the variance, as nothing in the rounds tells it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from perfgate.case import Case
from perfgate.record import Run, Side
from perfgate.versus import CONFIDENCE, MOST_DF, Ratio, paired_ratio, ratio

MOST_ROUNDS = 400  # more are never proposed


@dataclass(frozen=True, slots=True)
class Valued:
    """A value and the place of its round in the run; None: in which order rounds ran is not known."""

    index: int | None
    value: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Noise of a ratio's logarithm: sd of one pair of rounds, and sd of what more rounds do not lower.

    df_per_round: degrees of freedom that a further round a side brings. is_assumed: no rounds told it.
    """

    sd: float
    df_per_round: int
    fixed_sd: float = 0.0
    is_assumed: bool = False

    def half_width(self, rounds: int, confidence: float) -> float:
        """Of the interval that so many rounds a side have on average, as a logarithm."""
        of_rounds = self.sd**2 / rounds
        total = of_rounds + self.fixed_sd**2
        if total <= 0:
            return 0.0
        df = (rounds - 1) * self.df_per_round / max((of_rounds / total) ** 2, 1 / MOST_DF)
        return float(special.stdtrit(df, (1 + confidence) / 2)) * math.sqrt(total)


@dataclass(frozen=True, slots=True)
class Factor:
    """A ratio, what its interval rests on, and the noise; None where one round a side tells none."""

    ratio: Ratio
    basis: str
    spread: Spread | None = None


def factor(
    a: Sequence[Valued], b: Sequence[Valued], confidence: float = CONFIDENCE, apart_sd: float | None = None
) -> Factor:
    """Values of B over those of A, each with one round at least.

    apart_sd: what sessions differ by (log units) where the sides are of two runs; None: they are of one.
    """
    if apart_sd is None and (pairs := in_turns(a, b)):
        return Factor(paired_ratio(pairs, confidence), f"{len(pairs)} pairs of rounds that took turns", _paired(pairs))
    fixed_sd = math.sqrt(2) * (apart_sd or 0.0)
    mine, theirs = ([one.value for one in side] for side in (b, a))
    basis = f"{len(a)} and {len(b)} rounds" + ("" if apart_sd is None else " of two runs")
    return Factor(ratio(theirs, mine, confidence, fixed_sd**2), basis, _apart([theirs, mine], fixed_sd))


def valued(run: Run, case: Case, metric: str) -> list[Valued]:
    """What the candidate's rounds of a case measured validly, in the order in which they ran."""
    rounds = (one for one in run.rounds if one.engine == case.engine.name and one.side is Side.CANDIDATE)
    values = ((one.index, one.value(case.id, metric)) for one in rounds)
    found = (Valued(index, value) for index, value in values if value is not None and 0 < value < math.inf)
    return sorted(found, key=lambda one: one.index or 0)


def in_turns(a: Sequence[Valued], b: Sequence[Valued]) -> list[tuple[float, float]]:
    """(A's value, B's) of rounds that ran in turn, neither side twice between two of the other; else nothing.

    Orders such as A B A B and A B B A are turns: each first, second, ... round of both stand beside each other.
    """
    places = [(x.index, y.index) for x, y in zip(a, b, strict=False)]
    spans = [(min(x, y), max(x, y)) for x, y in places if x is not None and y is not None]
    if not len(a) == len(b) == len(spans):
        return []
    if any(before[1] > after[0] for before, after in pairwise(spans)):
        return []
    return [(x.value, y.value) for x, y in zip(a, b, strict=True)]


def _paired(pairs: Sequence[tuple[float, float]]) -> Spread | None:
    if len(pairs) < 2:  # noqa: PLR2004 - one pair has no spread
        return None
    logs = np.log(np.asarray(pairs, dtype=float))
    return Spread(float((logs[:, 1] - logs[:, 0]).std(ddof=1)), 1)


def _apart(values: Sequence[Sequence[float]], fixed_sd: float) -> Spread | None:
    if min(map(len, values)) < 2:  # noqa: PLR2004 - one round has no spread
        return None
    return Spread(math.hypot(*(float(np.log(side).std(ddof=1)) for side in values)), 2, fixed_sd)
