"""What more or fewer samples a round would bring: the spread between rounds as a function of their samples.

A round's summary scatters because processes differ, which no number of samples cures, and because
its samples are few: variance(k) = floor^2 + noise^2 / k for k samples. Both are fitted to the rounds
at hand, cut into consecutive pieces of a half, a quarter and an eighth of their samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perfgate.metrics import trimmed_mean
from perfgate.noise import Floats

PIECES = (1, 2, 4, 8)
FEWEST = 8  # samples in the smallest piece

Summary = Callable[[Floats], float]


@dataclass(frozen=True, slots=True)
class SampleCurve:
    """Spread of pair differences against samples a round, log units.

    samples: of a round as it is; floor: what any number of samples leaves; noise: of one sample
    (spread from samples alone at k samples: noise / sqrt k).
    """

    samples: int
    floor: float
    noise: float

    def at(self, samples: float) -> float:
        """The spread to be expected with so many samples a round."""
        return math.sqrt(self.floor**2 + self.noise**2 / samples)


def summary_of(name: str) -> Summary:
    """How a round's value is made from its samples, by the last part of a metric's name: 'p10', 'tmean'."""
    if name == "mean":
        return lambda x: float(np.mean(x))
    if name == "tmean":
        return lambda x: trimmed_mean(x.tolist())
    share = float(name.removeprefix("p"))
    return lambda x: float(np.percentile(x, share))


def sample_curve(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], summary: Summary) -> SampleCurve | None:
    """The curve from the samples of both rounds of each pair, in the order in which they were taken.

    Pieces are consecutive, and the n-th of a round is set against the n-th of its pair, as the same
    prompts gave both and a disturbance hit both. None for fewer than two pairs or too few samples.
    """
    rows = [(np.asarray(a), np.asarray(b)) for a, b in pairs]
    least = min((min(len(a), len(b)) for a, b in rows), default=0)
    counts = [pieces for pieces in PIECES if least // pieces >= FEWEST]
    if len(rows) < 2 or len(counts) < 2:  # noqa: PLR2004 - a line needs two points
        return None
    points = [(pieces / least, _variance(rows, pieces, summary)) for pieces in counts]
    floor2, noise2 = _line([x for x, _ in points], [y for _, y in points])
    return SampleCurve(least, math.sqrt(floor2), math.sqrt(noise2))


def _variance(rows: Sequence[tuple[Floats, Floats]], pieces: int, summary: Summary) -> float:
    """Mean square of the differences between corresponding pieces."""
    cut = [[np.array_split(side, pieces) for side in row] for row in rows]
    differences = [
        math.log(summary(one)) - math.log(summary(other)) for a, b in cut for one, other in zip(a, b, strict=True)
    ]
    return float(np.mean(np.square(differences)))


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope of y = a + b x, neither below zero, by least squares of relative errors.

    A mean square has an error in proportion to itself; the whole rounds, of which there are fewest
    values, are what must fit best, and equal relative weights keep them from being drowned.
    """
    xs, ys = np.asarray(x), np.asarray(y)
    if not ys.all():
        return float(ys.min()), 0.0
    weights = 1 / ys**2
    centre = float(np.average(xs, weights=weights)), float(np.average(ys, weights=weights))
    slope = float((weights * (xs - centre[0]) * (ys - centre[1])).sum() / (weights * (xs - centre[0]) ** 2).sum())
    if slope <= 0:
        return centre[1], 0.0
    if (start := centre[1] - slope * centre[0]) < 0:
        return 0.0, float((weights * xs * ys).sum() / (weights * xs**2).sum())
    return start, slope
