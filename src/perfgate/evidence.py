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

What is to be refuted is never one slowdown but all of a side: `detect` and more for 'fine', none and less for
'worse'. So E is taken against the one of them that explains the rounds best; whichever is true, its own E is no
smaller, and the bound above holds for it. With one level the likelihood has one peak, and the best of a side that
the rounds speak against is its bound. With two levels it has a peak at every way to read which rounds were slow:
a slowdown as large as the gap explains rounds that are all slow, and no smaller one need do so (`likelihood.AtLeast`).

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfgate.levels import OnLevels
from perfgate.likelihood import AtLeast, AtMost, Mixture, Model
from perfgate.noise import Floats, Store

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

    worse: Floats  # of a worsening, against no change or an improvement, whichever explains the rounds best
    worse_robust: Floats
    beyond: Floats  # of a worsening, against the best of all that are no larger than the margin
    better: Floats  # of an improvement, likewise
    better_robust: Floats
    better_beyond: Floats
    fine: Floats  # of 'not worse' against the best of all worsenings of `detect` and more
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
    model = Model(store, a - store.level[:, None], b - store.level[:, None], two_levels or {})
    nothing, worse, better = np.zeros_like(margin), _changes(margin, detect, 1), _changes(margin, detect, -1)
    no_worse, no_better = AtMost(nothing), AtLeast(nothing)
    worse_robust, better_robust = (
        np.where(model.count_b > 1, model.least_without_one("b", found, null), -np.inf)
        for found, null in ((worse, no_worse), (better, no_better))
    )
    fine, as_bad = [(k * detect, weight) for k, weight in FINE.items()] + [(margin, FINE_MARGIN)], AtLeast(detect)
    is_fine = model.ratio(fine, as_bad)
    return Evidence(
        model.ratio(worse, no_worse), worse_robust, model.ratio(worse, AtMost(margin)),
        model.ratio(better, no_better), better_robust, model.ratio(better, AtLeast(-margin)),
        is_fine, np.minimum(is_fine, model.least_without_one("a", fine, as_bad)),
        *model.estimate(), model.count_a, model.count_b,
    )  # fmt: skip


def _changes(margin: Floats, detect: Floats, sign: float) -> Mixture:
    scaled = [(sign * k * detect, weight) for k, weight in WORSE.items()]
    return [*scaled, (sign * (margin + detect) / 2, BETWEEN)]


def padded(rows: Sequence[Floats]) -> Floats:
    """Rows of different lengths as one array, NaN padded."""
    out = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
