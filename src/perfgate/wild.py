"""Rounds far off all others, which a disturbance explains better than the noise: taken in, to where noise ends.

One process that was hit by something (another job, a retried page, a fan) measures 10 or 20 % off. It is no
sign of a change, and as plain variance it would hide changes for as long as it is remembered. So such a round
counts as one that is `TAKEN_IN` deviations off (Winsor's rule; deviations by the median of absolute deviations).
That changes nothing where the noise is normal: one round in 10^9 lies beyond `WILD` deviations.

Where many are far off it is no disturbance but a tail, a level or a step, and where a whole session is off, a
different day: those stay as they are, and so do sessions of a single round.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from perfgate.noise import Floats, Sessions

WILD = 6.0  # deviations
TAKEN_IN = 4.0
FEWEST = 8  # rounds below which nothing is called wild
MOST = 40  # at most one in so many, or one
SCREEN = 3.0  # plain deviations that some round of a long series must be off
_TO_SD = 1.4826  # from the median absolute deviation of a normal distribution to its standard deviation


def tame(values: Floats, centre: Floats | float | None = None, sd: float | None = None) -> Floats:
    """Rounds of one engine with wild ones taken in; centre: the level of each, sd: within it, where they are known."""
    if len(values) < FEWEST or (centre is None and not _may_be_wild(values)):
        return values
    return np.asarray(_taken_in(values, centre, sd)[0])


def tame_sessions(known: Sessions) -> Sessions:
    """The same for stored rounds, but for sessions in which every round is far off."""
    if len(known.values) < FEWEST or not _may_be_wild(known.values):
        return known
    near, is_wild = _taken_in(known.values, None, None)
    session = np.repeat(np.arange(len(known.sizes)), known.sizes)
    others_are_not = np.bincount(session, is_wild)[session] < np.asarray(known.sizes)[session]
    return Sessions(np.where(others_are_not, near, known.values), known.sizes, known.pinned)


def tame_on_levels(side: Floats, gap: float, sd: float) -> Floats:
    """Today's rounds of a metric with two levels: a round may be a gap off; sd: within a level."""
    centre = float(np.median(side)) if len(side) else 0.0
    return tame(side, centre + gap * np.clip(np.round((side - centre) / gap), -1, 1), sd)


def robust_sd(off: Floats) -> float:
    """Standard deviation by the median absolute deviation; off: deviations from the centre."""
    return _TO_SD * float(np.median(np.abs(off)))


def _may_be_wild(values: Floats) -> bool:
    """A cheap screen for long series; among n rounds none can be more than sqrt(n) plain deviations off."""
    return bool(np.abs(values - values.mean()).max() > min(SCREEN, 0.8 * math.sqrt(len(values))) * values.std())


def _taken_in(values: Floats, centre: Floats | float | None, sd: float | None) -> tuple[Floats, NDArray[np.bool_]]:
    centre = float(np.median(values)) if centre is None else centre
    off = values - centre
    sd = robust_sd(off) if sd is None else sd
    is_wild = np.abs(off) > WILD * sd
    if is_wild.sum() > max(1, len(values) // MOST):
        return values, np.zeros_like(is_wild)
    return np.where(is_wild, centre + np.clip(off, -TAKEN_IN * sd, TAKEN_IN * sd), values), is_wild
