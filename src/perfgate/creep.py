"""Slow creep: a worsening so gradual that no single gate shows it, by a CUSUM against a pinned engine.

Pure; works on logarithms of values, signed so that larger is worse. Each gate measures the pinned (baseline)
engine beside the candidate; the difference of the two in one session is free of the platform's drift, and
its reference is known: zero. The CUSUM sums the evidence of a worsening of `delta` against none and starts
anew whenever it falls to zero (Page 1954, 'Continuous inspection schemes'; Lorden 1971):

    C_t = max(0, C_(t-1) + ln f(x_t | delta) / f(x_t | 0)),   alarm where C_t >= b = ln(M T / alpha)

with f a Student t whose scale comes from the sessions before t. Evidence that starts at a given session is a
martingale, so that over M metrics and T sessions to start at, any alarm has probability at most alpha where
the model holds (Ville 1939; Shin, Ramdas and Rinaldo 2023, 'E-detectors'). What the model leaves out:

- A wild session: none may count more than b / `LEAST_SESSIONS`, either way.
- Two modes: the scale is that of differences between successive sessions (von Neumann et al. 1941), which
  a creep hardly touches, and no smaller than their 80 % quantile says; a wild one counts as three scales.
- Drift of the platform, where the pinned engine was not measured beside: such sessions are charted on their
  own against the first ones. Their alarms must exceed a random walk of `DRIFT` a session and are not confirmed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PINNED = 15  # sessions that the reference and the first scale are learnt from
DELTA = math.log(1.03)  # the worsening that evidence is weighed for; half of it is tolerated for ever
ALPHA = 0.01  # probability of any false creep alarm in a suite
HORIZON = 100  # sessions that alpha is spread over while a trail is shorter
LEAST_SESSIONS = 6.0  # sessions that an alarm needs
MOST_STANDING = 1.5  # bounds that a standing alarm holds at most, so that a repair ends it soon
DRIFT = 0.001  # random walk of a platform from session to session, where the pinned engine was not beside
DRIFT_SCALES = 4.0  # an alarm without the pinned engine must exceed so many standard deviations of that walk
RECENT = 5  # sessions whose median is the level now
LEAST_SCALE = 0.001  # a scale below 0.1 % is not believed: clocks and caches differ by more between days


@dataclass(frozen=True, slots=True)
class Creep:
    """Arrays [metric]; sessions are counted from 0, and -1 is none.

    first: session of the first alarm ever. at: session of the alarm that stands at the end of the trail.
    since: its first session, as the CUSUM has it: it was zero just before.
    size: log change now, the median of the last five sessions. confirmed: by the pinned engine beside.
    """

    first: Ints
    at: Ints
    since: Ints
    size: Floats
    confirmed: Bools


def creep(
    level: Floats,
    beside: Floats,
    *,
    tests: int,
    pinned: int = PINNED,
    delta: Floats | float = DELTA,
    alpha: float = ALPHA,
) -> Creep:
    """Watch trails for a slow worsening against the pinned engine.

    level, beside: [metric, session], the candidate and the pinned engine in the same session, log units, larger
    is worse, NaN where not measured. tests: metrics of the whole suite, over which alpha is divided. delta: the
    worsening that evidence is weighed for, log units, per metric or one for all; half of it is never an alarm.
    The first `pinned` sessions of either kind only teach: they raise no alarm.
    """
    bound = math.log(tests * max(level.shape[1], HORIZON) / alpha)
    paired = _chart(level - beside, 0.0, 0.0, pinned, delta, bound)
    reference = _middle(_packed(level)[0][:, :pinned])
    alone = np.where(np.isfinite(beside), np.nan, level - reference[:, None])
    levels = _chart(alone, math.pi / 2 / pinned, DRIFT, pinned, delta, bound)
    is_sure = (paired.at >= 0) | ((levels.at < 0) & (paired.first >= levels.first))
    return Creep(
        np.where(is_sure, paired.first, levels.first),
        np.where(is_sure, paired.at, levels.at),
        np.where(is_sure, paired.since, levels.since),
        np.where(is_sure, paired.size, levels.size),
        is_sure,
    )


@dataclass(frozen=True, slots=True)
class _Alarms:
    """Arrays [metric], as in `Creep`."""

    first: Ints
    at: Ints
    since: Ints
    size: Floats


def _chart(x: Floats, error: float, drift: float, pinned: int, delta: Floats | float, bound: float) -> _Alarms:
    """The CUSUM of residuals x [metric, session], NaN where not measured.

    error: variance of the reference's own error, in units of the variance of a session. drift: what a random walk
    may add from session to session; less than `DRIFT_SCALES` of it raises no alarm.
    """
    values, session = _packed(x)
    metrics, count = values.shape
    total, since = np.zeros(metrics), np.full(metrics, pinned)
    first, at = np.full(metrics, -1), np.full(metrics, -1)
    var = _first_variance(values[:, :pinned])
    for t in range(pinned, count):
        here = np.isfinite(values[:, t])
        step = np.where(here, _step(values[:, t], var * (1 + error), _df(t), delta), 0.0)
        most = bound / LEAST_SESSIONS
        total = np.clip(total + np.clip(step, -most, most), 0.0, MOST_STANDING * bound)
        since = np.where(total > 0, since, t + 1)
        at = np.where(total > 0, at, -1)
        is_red = total >= bound
        if drift:
            walked = DRIFT_SCALES * np.sqrt(drift**2 * (t - pinned / 2) + var * (error + math.pi / 2 / RECENT))
            is_red &= _middle(values[:, max(t + 1 - RECENT, 0) : t + 1]) > walked
        at = np.where((at < 0) & is_red, t, at)
        first = np.where(first < 0, at, first)
        jump = (values[:, t] - values[:, t - 1]) ** 2 / 2
        var = np.where(here, _next_variance(var, jump, t), var)
    size = np.array([_middle(row[None, np.isfinite(row)][:, -RECENT:])[0] for row in values])
    since = np.where(at < 0, -1, since)
    return _Alarms(_unpacked(first, session), _unpacked(at, session), _unpacked(since, session), size)


def _middle(values: Floats) -> Floats:
    """The median of each metric's sessions; NaN where there is none or one is missing."""
    return np.asarray(np.median(values, axis=1)) if values.shape[1] else np.full(len(values), np.nan)


def _packed(x: Floats) -> tuple[Floats, Ints]:
    """Each row's finite values first, in order, and the column that each came from."""
    order = np.argsort(~np.isfinite(x), axis=1, kind="stable")
    return np.take_along_axis(np.where(np.isfinite(x), x, np.nan), order, axis=1), order


def _unpacked(place: Ints, session: Ints) -> Ints:
    if not session.size:
        return place
    column = np.take_along_axis(session, np.maximum(place, 0)[:, None], axis=1)[:, 0]
    return np.where(place < 0, -1, column)


def _step(x: Floats, var: Floats, df: float, delta: Floats | float) -> Floats:
    """ln of the ratio of Student densities at x, centred at delta and at 0."""
    near, far = np.log1p((x - delta) ** 2 / (df * var)), np.log1p(x**2 / (df * var))
    return np.asarray((df + 1) / 2 * (far - near))


def _df(sessions: int) -> float:
    """Degrees of freedom behind the scale: successive differences have two thirds of a variance's efficiency."""
    return 2 / 3 * (sessions - 1)


def _first_variance(x: Floats) -> Floats:
    """Variance of a session from successive differences, wild ones counted as three scales."""
    jump = np.abs(np.diff(x, axis=1)) / math.sqrt(2)
    filled = np.where(np.isfinite(jump).all(axis=1, keepdims=True), jump, 0.0)
    if not filled.shape[1]:
        return np.full(len(x), LEAST_SCALE**2)
    scale = np.maximum(1.4826 * np.median(filled, axis=1), np.quantile(filled, 0.8, axis=1) / special.ndtri(0.9))
    return np.asarray(np.maximum((np.minimum(filled, 3 * scale[:, None]) ** 2).mean(axis=1), LEAST_SCALE**2))


def _next_variance(var: Floats, jump: Floats, sessions: int) -> Floats:
    return np.asarray(np.maximum(var + (np.minimum(jump, 9 * var) - var) / sessions, LEAST_SCALE**2))
