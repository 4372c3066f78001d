"""How many pairs of rounds find a change, and which change a number of pairs finds: asked of the judge's own evidence.

Formulas (Wald's bound, a test of fixed size) miss what the gate's t evidence really takes at few
pairs by a factor of two and more, so that the evidence itself is computed: on pairs that are what
their noise makes of them on average (normal scores with exactly that spread about exactly that
change), with the noise known as well as the calibration knows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from perfgate.evidence import weigh
from perfgate.noise import Floats, Store
from perfgate.noisy import EDGE, FRESH, ROBUST_SLACK
from perfgate.terms import Gate

MOST_PAIRS = 400  # more are never asked for: told as 'more than'
STEPS = (
    0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.75, 1.0,
    1.5, 2.0,
)  # fmt: skip
MARGIN_SHARE = 0.4  # of `detect`: the margin of the catalogue's timed metrics, 2 % of 5 %


@dataclass(frozen=True, slots=True)
class Noisy:
    """Spread of pair differences (log units) and the degrees of freedom behind it."""

    sd: float
    df: float


def pairs_needed(wanted: Sequence[tuple[Noisy, float]], gate: Gate, tests: int) -> list[int | None]:
    """Pairs after which a slowdown of that relative size is typically found red; None: more than `MOST_PAIRS`."""
    open_ones = set(range(len(wanted)))
    out: list[int | None] = [None] * len(wanted)
    for pairs in _counts():
        asked = sorted(open_ones)
        found = finds([wanted[i] for i in asked], pairs, gate, tests) if asked else []
        for i, is_found in zip(asked, found, strict=True):
            if is_found:
                out[i] = pairs
                open_ones.discard(i)
    return out


def detectable(noises: Sequence[Noisy], pairs: int, gate: Gate, tests: int) -> list[float | None]:
    """The smallest of `STEPS` that so many pairs typically find red; None: not even the largest."""
    rows = [(noise, step) for noise in noises for step in STEPS]
    found = np.asarray(finds(rows, pairs, gate, tests), dtype=bool).reshape(len(noises), len(STEPS))
    return [STEPS[int(row.argmax())] if row.any() else None for row in found]


def finds(wanted: Sequence[tuple[Noisy, float]], pairs: int, gate: Gate, tests: int) -> list[bool]:
    """Whether so many typical pairs turn a slowdown of that size red under the gate's error rates."""
    if not wanted or pairs < FRESH:
        return [False] * len(wanted)
    sd, df = (np.array([getattr(noise, name) for noise, _ in wanted]) for name in ("sd", "df"))
    sd = np.maximum(sd, 1e-6)
    detect = np.log1p([size for _, size in wanted])
    zero = np.zeros(len(wanted))
    store = Store(zero, sd**2, df, zero, df, zero, zero)
    rows = detect[:, None] + sd[:, None] * _typical(pairs)
    found = weigh(store, np.empty((len(wanted), 0)), rows, MARGIN_SHARE * detect, detect)
    red = math.log(tests / gate.alpha)
    is_found = (found.worse >= red) & (found.worse_robust >= red - ROBUST_SLACK) & (found.beyond >= EDGE)
    return [bool(one) for one in is_found]


def _typical(n: int) -> Floats:
    """Normal scores whose squares about their mean, zero, sum to n - 1, as a sample's do on average."""
    scores = special.ndtri((np.arange(n) + 0.5) / n)
    return np.asarray(scores * math.sqrt((n - 1) / float((scores**2).sum())))


def _counts() -> list[int]:
    """Every number of pairs up to 20, then steps of a tenth."""
    out = list(range(FRESH, 21))
    while out[-1] < MOST_PAIRS:
        out.append(min(MOST_PAIRS, math.ceil(out[-1] * 1.1)))
    return out
