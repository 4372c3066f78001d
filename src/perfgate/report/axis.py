"""A linear axis of a figure: values to pixels, and round numbers for its ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_NICE = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: pixels, and what stands there."""

    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """`low` is drawn at pixel `begin`, `high` at `end`; what lies outside is drawn at the rim."""

    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def over(cls, values: Iterable[float], begin: float, end: float) -> Axis:
        """An axis on which all of the values fit; they must be finite, and at least one."""
        known = list(values)
        return cls(min(known), max(known), begin, end)

    def at(self, value: float) -> float:
        """Pixels; halves keep the range of any two finite values finite."""
        span = self.high / 2 - self.low / 2
        part = (value / 2 - self.low / 2) / span if span > 0 else 0.5
        return self.begin + min(max(part, 0.0), 1.0) * (self.end - self.begin)

    def ticks(self, wanted: int) -> list[float]:
        """Round values within the axis, about as many as wanted; none where the range has no size."""
        span = self.high - self.low
        if not 0 < span < math.inf or wanted < 1:
            return []
        raw = span / wanted
        power = 10.0 ** math.floor(math.log10(raw)) if raw > 1e-300 else 0.0  # noqa: PLR2004 - below, no power of ten
        step = next((nice * power for nice in _NICE if nice * power >= raw), 0.0)
        if not 0 < step < math.inf or step < max(abs(self.low), abs(self.high)) * 1e-12:
            return []
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def short(shown: str) -> str:
    """A quantity without the zeros that a round number ends in: '0.2000 ms' is '0.2 ms'."""
    number, space, unit = shown.partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number and "e" not in number else number) + space + unit


def finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def thinned(values: Sequence[float], most: int) -> list[float]:
    """At most that many of the values, evenly from first to last, both kept."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def line(points: Iterable[tuple[float, float]]) -> str:
    """SVG path data of a line through whole pixels, each point relative to the last: the fewest bytes."""
    whole = [(round(x), round(y)) for x, y in points]
    steps = [(x - a, y - b) for (a, b), (x, y) in pairwise(whole)]
    kept = _joined(step for step in steps if step != (0, 0))
    return f"M{whole[0][0]} {whole[0][1]}" + "".join(map(_step, kept)) if whole else ""


def _joined(steps: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The steps, those along a level one after the other as one."""
    out: list[tuple[int, int]] = []
    for x, y in steps:
        is_on = bool(out) and y == 0 == out[-1][1] and (x > 0) == (out[-1][0] > 0)
        before = out.pop()[0] if is_on else 0
        out.append((before + x, y))
    return out


def _step(step: tuple[int, int]) -> str:
    x, y = step
    if y == 0:
        return f"h{x}"
    if x == 0:
        return f"v{y}"
    return f"l{x}{'' if y < 0 else ' '}{y}"
