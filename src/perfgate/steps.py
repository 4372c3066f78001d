"""Steps in a series, for display: where its level changed, by exact penalised segmentation.

The segmentation minimises sum over segments of sum |x - median| + penalty, over all segmentations with at least
`LEAST_SEGMENT` sessions in each: optimal partitioning (Jackson et al. 2005, 'An algorithm for optimal
partitioning of data on an interval') with absolute deviations, which together with the least length
leaves a single wild session no way to become a step. The penalty is that of a Laplace likelihood,
b * PENALTY * ln n, with b the mean absolute deviation of a session.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LEAST_SEGMENT = 3
PENALTY = 3.0  # in units of b ln n: two parameters a step, and the search for its place
LEAST_DEVIATION = 0.001  # log units; a series without noise still has clocks and caches
LONGEST = 1000  # sessions looked at, the newest: the work grows with the square


@dataclass(frozen=True, slots=True)
class Step:
    """A change of level: `at` is the first session with the new one; `size` in the units of the series."""

    at: int
    size: float


def change_points(series: Sequence[float]) -> list[Step]:
    """Changes of level of a series of finite numbers (log units), oldest first; of the newest `LONGEST` sessions."""
    skipped = max(len(series) - LONGEST, 0)
    values = list(series[skipped:])
    if len(values) < 2 * LEAST_SEGMENT:
        return []
    edges = _edges(values, PENALTY * _deviation(values) * math.log(len(values)))
    levels = [statistics.median(values[a:b]) for a, b in pairwise(edges)]
    return [Step(skipped + at, new - old) for at, (old, new) in zip(edges[1:], pairwise(levels), strict=False)]


def _deviation(values: Sequence[float]) -> float:
    """Mean absolute deviation of a session, from the median step between successive ones, as normal noise has it."""
    jump = statistics.median(abs(b - a) for a, b in pairwise(values)) / math.sqrt(2)
    return max(1.4826 * jump * math.sqrt(2 / math.pi), LEAST_DEVIATION)


def _edges(values: Sequence[float], penalty: float) -> list[int]:
    """0, the first session of each further segment, and the length: of the cheapest segmentation."""
    count = len(values)
    best, came_from = [math.inf] * (count + 1), [0] * (count + 1)
    best[0] = -penalty
    for start in range(count - LEAST_SEGMENT + 1):
        if best[start] == math.inf:
            continue
        for end, cost in enumerate(_costs(values[start:]), start + 1):
            total = best[start] + cost + penalty
            if end - start >= LEAST_SEGMENT and total < best[end]:
                best[end], came_from[end] = total, start
    edges = [count]
    while edges[-1]:
        edges.append(came_from[edges[-1]])
    return edges[::-1]


def _costs(values: Sequence[float]) -> list[float]:
    """Summed distance from the median of the first 1, 2, ... values.

    A value more adds its distance from the interval of medians of those before it.
    """
    ordered: list[float] = []
    costs, cost = [], 0.0
    for value in values:
        if ordered:
            low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
            cost += max(low - value, value - high, 0.0)
        bisect.insort(ordered, value)
        costs.append(cost)
    return costs
