"""What a value of an axis does, all else equal: ratios to the cheapest value, with intervals over pairs.

A pair are two configurations that differ in one axis only. With d the difference of their mean log values, over k pairs

    ratio = exp(mean d),    interval = exp(mean d +- t s_d / sqrt(k))          Student's t with k - 1 degrees of freedom

which holds what the other axes do to the effect. Of fewer than three pairs that would say nothing; there the interval
is that of the rounds' noise alone, exp(mean d +- limit / sqrt(k)), and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import Protocol

import numpy as np
from scipy import special

from perfgate.metrics import CATALOGUE, Better
from perfgate.pareto import CONFIDENCE, LEAST, Figures, Noise

WORTH = 0.05  # a gain that a dearer build would be borne for; what leaves one open is not decided
_FEWEST_PAIRS = 3  # with two, t is 12.7
_BUILD = "build_s"
_OF_TRAFFIC = ("e2el_p95", "requests_per_s")


class Basis(StrEnum):
    """What an interval is over."""

    PAIRS = "pairs"
    ROUNDS = "rounds"


@dataclass(frozen=True, slots=True)
class Change:
    """A metric under a value over the same under the cheapest one: 1.3 is 30 % more."""

    metric: str
    ratio: float
    low: float
    high: float
    basis: Basis

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 'no difference' out, and the change is not too small to count."""
        return not self.low <= 1 <= self.high and abs(math.log(self.ratio)) > LEAST

    @property
    def is_better(self) -> bool:
        return (self.ratio < 1) is (CATALOGUE[self.metric].better is Better.LOWER)

    @property
    def may_be_a_gain(self) -> bool:
        """Whether a gain that would be worth something is neither shown nor ruled out."""
        is_lower = CATALOGUE[self.metric].better is Better.LOWER
        best = -math.log(self.low) if is_lower else math.log(self.high)
        return not self.is_clear and best > WORTH


@dataclass(frozen=True, slots=True)
class Effect:
    """A value of an axis against the value that is cheapest to build."""

    axis: str
    value: str
    against: str
    pairs: int
    changes: tuple[Change, ...]

    @property
    def costs(self) -> tuple[Change, ...]:
        return tuple(one for one in self.changes if one.is_clear and not one.is_better)

    @property
    def gains(self) -> tuple[Change, ...]:
        return tuple(one for one in self.changes if one.is_clear and one.is_better)

    @property
    def undecided(self) -> tuple[Change, ...]:
        """What the rounds cannot tell of latency and throughput."""
        return tuple(one for one in self.changes if one.metric in _OF_TRAFFIC and one.may_be_a_gain)

    @property
    def is_idle(self) -> bool:
        """Whether it gives nothing, as far as one can be sure."""
        return not self.gains and not self.undecided


class Placed(Protocol):
    """A configuration with its place on the axes and its figures."""

    @property
    def values(self) -> tuple[tuple[str, str], ...]: ...

    @property
    def figures(self) -> Figures: ...


def effects_of(
    options: Sequence[Placed], axes: Sequence[tuple[str, tuple[str, ...]]], noises: Mapping[str, Noise]
) -> tuple[Effect, ...]:
    """Every value of every axis against its cheapest, as far as there are pairs."""
    return tuple(one for axis, values in axes for one in _of_axis(options, axis, values, noises))


def _of_axis(
    options: Sequence[Placed], axis: str, values: Sequence[str], noises: Mapping[str, Noise]
) -> Iterator[Effect]:
    groups = _groups(options, axis)
    cheapest = _cheapest(groups, values, noises.get(_BUILD))
    for value in values:
        pairs = [(mine[value], mine[cheapest]) for mine in groups if value in mine and cheapest in mine]
        if value != cheapest and pairs:
            changes = (_change(name, [(a.figures, b.figures) for a, b in pairs], noises[name]) for name in noises)
            yield Effect(axis, value, cheapest, len(pairs), tuple(one for one in changes if one is not None))


def _groups(options: Sequence[Placed], axis: str) -> list[dict[str, Placed]]:
    """Configurations that agree in all other axes, by their value of this one."""
    out: dict[tuple[tuple[str, str], ...], dict[str, Placed]] = {}
    for one in options:
        others = tuple((name, value) for name, value in one.values if name != axis)
        out.setdefault(others, {})[dict(one.values)[axis]] = one
    return list(out.values())


def _cheapest(groups: Sequence[Mapping[str, Placed]], values: Sequence[str], noise: Noise | None) -> str:
    """The value that builds fastest, all else equal; of those that the noise does not tell apart, the first."""
    build = {value: _relative_build(groups, value) for value in values}
    known = {value: seconds for value, seconds in build.items() if seconds}
    if not known or noise is None:
        return values[0]
    best = min(known, key=lambda value: fmean(known[value]))
    level, n = fmean(known[best]), len(known[best])
    return next(value for value in known if fmean(known[value]) - level <= noise.limit(n, len(known[value])))


def _relative_build(groups: Sequence[Mapping[str, Placed]], value: str) -> list[float]:
    """Log build seconds under a value, against the mean of its group, in each group that has other values too."""
    out = []
    for mine in groups:
        levels = {key: _level(one.figures, _BUILD) for key, one in mine.items() if _BUILD in one.figures}
        if value in levels and len(levels) > 1:
            out.append(levels[value] - fmean(levels.values()))
    return out


def _level(figures: Figures, metric: str) -> float:
    return float(np.log(figures[metric]).mean())


def _change(metric: str, pairs: Sequence[tuple[Figures, Figures]], noise: Noise) -> Change | None:
    known = [(a, b) for a, b in pairs if metric in a and metric in b]
    if not known:
        return None
    d = np.asarray([_level(a, metric) - _level(b, metric) for a, b in known])
    k, centre = len(d), float(d.mean())
    if k >= _FEWEST_PAIRS:
        half = float(special.stdtrit(k - 1, (1 + CONFIDENCE) / 2)) * float(d.std(ddof=1)) / math.sqrt(k)
        basis = Basis.PAIRS
    else:
        half = math.sqrt(sum(noise.limit(len(a[metric]), len(b[metric])) ** 2 for a, b in known)) / k
        basis = Basis.ROUNDS
    return Change(metric, math.exp(centre), math.exp(centre - half), math.exp(centre + half), basis)
