"""How the samples of a case are spread: cumulative curves of both sides, and every round on the same axis."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfgate.metrics import CATALOGUE
from perfgate.record import Run, Side
from perfgate.report.axis import Axis, Tick, line, short
from perfgate.report.figures import count, quantity, worsening

Floats = NDArray[np.float64]

WIDTH, CURVE_HEIGHT = 280, 84
LEFT, RIGHT, TOP = 26, 6, 6
_ROUND_STEP = 5  # pixels from one round to the next
_TICKS = 3
_LEAST = 8  # samples of a side below which a curve would say nothing
_RANGE = (0.01, 0.99)  # of the samples; a few wild ones would squeeze all others into one pixel
_TOLD = (0.5, 0.9, 0.99)
_ORDER = {"ttft": 0, "itl": 1, "tpot": 2, "e2el": 3}  # as a request lives


@dataclass(frozen=True, slots=True)
class Detail:
    """How finely a figure is drawn: points of a curve, and rounds a side."""

    points: int
    rounds: int
    sessions: int  # of history
    names: tuple[str, ...] | None = None  # which samples; None: all


FINE, COARSE = Detail(40, 24, 40), Detail(14, 4, 20, ("ttft", "itl"))


@dataclass(frozen=True, slots=True)
class Distribution:
    """SVG path data of one figure. now, before: curves. *_rounds: a line from p10 to p90 and a tick at the median."""

    name: str
    now: str
    before: str
    now_rounds: str
    before_rounds: str
    height: int
    grid: str
    ticks: tuple[Tick, ...]
    quantiles: tuple[tuple[str, str, str, str], ...]  # (p50, baseline, now, change)
    note: str


Samples = Mapping[str, Mapping[str, Mapping[Side, Sequence[Floats]]]]


def samples_of(run: Run, names: Sequence[str] | None = None) -> Samples:
    """Sorted samples by case, name and side, one array per valid round; infinite ones (no answer) at the end.

    names: which kinds of sample; None: all.
    """
    found: dict[str, dict[str, dict[Side, list[Floats]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for one in run.rounds:
        for measured in one.cases if one.is_valid else ():
            for name, values in measured.samples.items() if not measured.faults else ():
                if names is None or name in names:
                    array = np.array(values, dtype=np.float64)
                    found[measured.case][name][one.side].append(np.sort(array[~np.isnan(array)]))
    return found


def distributions(samples: Mapping[str, Mapping[Side, Sequence[Floats]]], detail: Detail) -> Iterator[Distribution]:
    """One figure for each kind of sample of a case that has enough of them."""
    for name, sides in sorted(samples.items(), key=lambda one: _ORDER.get(one[0], len(_ORDER))):
        now, before = (list(sides.get(side, [])) for side in (Side.CANDIDATE, Side.BASELINE))
        if sum(map(len, now)) >= _LEAST and any(len(one) and math.isfinite(one[0]) for one in now):
            yield _drawn(name, now, before, detail)


def _drawn(name: str, now: list[Floats], before: list[Floats], detail: Detail) -> Distribution:
    new, old = _pooled(now), _pooled(before)
    known = [one for one in (new, old) if len(one) and math.isfinite(one[0])]
    axis = Axis.over([_quantile(one, share) for one in known for share in _RANGE], LEFT, WIDTH - RIGHT)
    unit = CATALOGUE[f"{name}_p50"].unit if f"{name}_p50" in CATALOGUE else ""
    mine, theirs = (_thin(rounds, detail.rounds) for rounds in (now, before))
    begin = CURVE_HEIGHT + TOP
    between = begin + _ROUND_STEP * len(theirs) + (3 if theirs else 0)
    height = between + _ROUND_STEP * len(mine)
    ticks = tuple(_ticks(axis, unit))
    return Distribution(
        name,
        now=_curve(axis, new, detail.points),
        before=_curve(axis, old, detail.points),
        now_rounds=_rounds(axis, mine, between),
        before_rounds=_rounds(axis, theirs, begin),
        height=height,
        grid="".join(f"M{tick.at} {TOP}V{height}" for tick in ticks),
        ticks=ticks,
        quantiles=tuple(_told(new, old, unit)),
        note=_note(new, old, len(now), len(before)),
    )


def _pooled(rounds: Sequence[Floats]) -> Floats:
    """All samples in order; stable sorting finds the runs that are in order already."""
    pooled = np.concatenate(rounds) if rounds else np.empty(0)
    pooled.sort(kind="stable")  # in place: there may be millions
    return pooled


def _quantile(ordered: Floats, share: float) -> float:
    """The sample at that share of all; where it was never answered, the last that was."""
    value = float(ordered[min(int(share * len(ordered)), len(ordered) - 1)])
    return value if math.isfinite(value) else float(ordered[np.isfinite(ordered)][-1])


def _curve(axis: Axis, ordered: Floats, points: int) -> str:
    """Share of the samples that are at most so large, upwards from 0 to 1."""
    if not len(ordered) or not math.isfinite(ordered[0]):
        return ""
    shares = [i / (points - 1) for i in range(points)]
    answered = np.isfinite(ordered).mean()
    return line(
        (axis.at(_quantile(ordered, share)), TOP + (1 - share) * (CURVE_HEIGHT - TOP))
        for share in shares if share <= answered
    )  # fmt: skip


def _thin(rounds: Sequence[Floats], most: int) -> list[Floats]:
    known = [one for one in rounds if len(one) and math.isfinite(one[0])]
    return [known[round(i * (len(known) - 1) / (most - 1))] for i in range(most)] if len(known) > most else known


def _rounds(axis: Axis, rounds: Sequence[Floats], begin: int) -> str:
    return "".join(_round(axis, ordered, begin + i * _ROUND_STEP) for i, ordered in enumerate(rounds))


def _round(axis: Axis, ordered: Floats, y: int) -> str:
    low, middle, high = (round(axis.at(_quantile(ordered, share))) for share in (0.1, 0.5, 0.9))
    return f"M{low} {y}H{high}M{middle} {y - 2}v4"


def _ticks(axis: Axis, unit: str) -> Iterator[Tick]:
    for value in axis.ticks(_TICKS):
        yield Tick(round(axis.at(value)), short(quantity(value, unit, like=axis.high)))


def _told(now: Floats, before: Floats, unit: str) -> Iterator[tuple[str, str, str, str]]:
    """p50, p90 and p99 of both sides and the change; latencies, so that more is worse."""
    for share in _TOLD:
        new = _value(now, share)
        old = _value(before, share) if len(before) else None
        change = None if old is None or new is None or not old > 0 else new / old - 1
        yield f"p{share * 100:.0f}", quantity(old, unit, like=new), quantity(new, unit), worsening(change)


def _value(ordered: Floats, share: float) -> float | None:
    value = float(ordered[int(share * (len(ordered) - 1))])
    return value if math.isfinite(value) else None


def _note(now: Floats, before: Floats, rounds: int, rounds_before: int) -> str:
    lost = int((~np.isfinite(now)).sum())
    parts = [f"{len(now):,} samples in {count(rounds, 'round')}"]
    parts += [f"baseline {len(before):,} in {rounds_before}"] if len(before) else []
    parts += [f"{lost:,} never answered"] if lost else []
    return "; ".join(parts)
