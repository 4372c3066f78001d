"""Engines against a reference engine: ratios of what their load runs measured, with intervals from their rounds.

A round is a fresh server process, and rounds are the unit of evidence: the requests of one process share its
placement, its clocks and its compiled kernels, and say nothing of how the next process will run. Each round gives one
value x of a metric; for sides A (the reference) and B, with y = ln x,

    ratio B/A = exp(mean y_B - mean y_A)
    interval  = ratio * exp(+- t sqrt(v_A + v_B)),   v = s^2 / n,  t of Welch's degrees of freedom
                (v_A + v_B)^2 / (v_A^2 / (n_A - 1) + v_B^2 / (n_B - 1))       (Welch, Biometrika 34, 1947)

Where the rounds of both sides took turns, in pairs beside each other, the interval is that of the differences
d = y_B - y_A: v = s_d^2 / n with n - 1 degrees of freedom, and what moves both of a pair alike cancels.

A side's own figure is the geometric mean of its rounds, so that figures and ratios agree. A side with one round has
no interval, whatever the number of its requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from perfgate.metrics import CATALOGUE, Better, Metric

CONFIDENCE = 0.95  # of each interval by itself
MOST_DF = 1e6  # Student's t is the normal distribution there

COMPARED: tuple[Metric, ...] = tuple(
    CATALOGUE[name]
    for name in (
        *(f"{stem}_{word}" for stem in ("ttft", "tpot", "itl", "e2el") for word in ("mean", "p99")),
        "output_tokens_per_s",
    )
)


@dataclass(frozen=True, slots=True)
class About:
    """What a result file tells of the engine and of the load; None or empty where it does not.

    facts: words for the header ("tp" -> "2"); input_tokens, output_tokens: means a request; client: whose clock it was.
    """

    facts: Mapping[str, str]
    requests: int | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    client: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One load run: a concurrency in one round of one side.

    values: seconds and tokens/s by metric name; absent: metric -> why it has no value;
    invalid: why no value of this run may be used, then values is empty.
    """

    source: Path
    round: int
    concurrency: int
    values: Mapping[str, float]
    absent: Mapping[str, str]
    invalid: tuple[str, ...]
    about: About


@dataclass(frozen=True, slots=True)
class Side:
    """A backend under its name, with all that was measured of it."""

    name: str
    folder: Path
    results: tuple[Result, ...]

    def at(self, concurrency: int) -> list[Result]:
        """Its rounds at a concurrency, in order."""
        return [one for one in self.results if one.concurrency == concurrency]

    def values(self, metric: str, concurrency: int) -> tuple[float, ...]:
        """The metric in each round that measured it validly."""
        return tuple(one.values[metric] for one in self.at(concurrency) if metric in one.values)

    @property
    def rounds(self) -> tuple[int, ...]:
        return tuple(sorted({one.round for one in self.results}))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A side's value over the reference's; low and high are None where a side has fewer than two rounds."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_different(self) -> bool:
        """Whether the interval leaves 1 out."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


@dataclass(frozen=True, slots=True)
class Cell:
    """A metric at a concurrency: a side's rounds, the reference's, and their ratio where both have any."""

    metric: Metric
    concurrency: int
    side: str
    reference: tuple[float, ...]
    values: tuple[float, ...]
    ratio: Ratio | None


@dataclass(frozen=True, slots=True)
class Versus:
    """Sides against the first of them: one cell for each metric, concurrency and other side."""

    sides: tuple[Side, ...]
    concurrencies: tuple[int, ...]
    cells: tuple[Cell, ...]

    @property
    def reference(self) -> Side:
        return self.sides[0]

    def cell(self, metric: str, concurrency: int, side: str) -> Cell:
        wanted = (metric, concurrency, side)
        return next(one for one in self.cells if (one.metric.name, one.concurrency, one.side) == wanted)

    def gaps(self, side: str, concurrency: int) -> list[str]:
        """Why a side cannot be compared at a concurrency, one line each; none where both have a valid round there.

        A metric that the files of either lack is no gap: that is among what is missing.
        """
        if side not in {one.name for one in self.sides}:
            return [f"{side}: nothing was measured"]
        involved = [one for one in self.sides if one.name in (side, self.reference.name)]
        return [line for one in involved for line in _gaps(one, concurrency)]

    @property
    def invalid(self) -> list[tuple[Side, Result]]:
        return [(side, one) for side in self.sides for one in side.results if one.invalid]

    @property
    def missing(self) -> list[str]:
        """What another side, another round or another metric leads one to expect and nothing was found of."""
        return [line for side in self.sides for line in _missing(side, self.concurrencies)]


def compare_sides(sides: Sequence[Side]) -> Versus:
    """Every side against the first, at every concurrency that any has."""
    levels = tuple(sorted({one.concurrency for side in sides for one in side.results}))
    cells = tuple(_cell(metric, level, sides[0], side) for side in sides[1:] for level in levels for metric in COMPARED)
    return Versus(tuple(sides), levels, cells)


def _cell(metric: Metric, level: int, reference: Side, side: Side) -> Cell:
    a, b = (one.values(metric.name, level) for one in (reference, side))
    return Cell(metric, level, side.name, a, b, ratio(a, b) if a and b else None)


def ratio(
    reference: Sequence[float], values: Sequence[float], confidence: float = CONFIDENCE, more_variance: float = 0.0
) -> Ratio:
    """Values over the reference, each one positive number a round; see the module's text for the formula.

    more_variance: of the ratio's logarithm, known from elsewhere (the difference between two sessions).
    """
    a, b = (np.log(np.asarray(side, dtype=float)) for side in (reference, values))
    centre = float(b.mean() - a.mean())
    if min(len(a), len(b)) < 2:  # noqa: PLR2004 - one round has no spread
        return Ratio(_exp(centre))
    var_a, var_b = (float(side.var(ddof=1)) / len(side) for side in (a, b))
    # Welch's degrees of freedom are an approximation: variance that is added must not narrow what the rounds alone say.
    found = (
        around(centre, math.sqrt(var_a + var_b + known), _welch_df(var_a, len(a), var_b, len(b), known), confidence)
        for known in dict.fromkeys((0.0, more_variance))
    )
    return max(found, key=lambda one: one.high or 0.0)


def paired_ratio(pairs: Sequence[tuple[float, float]], confidence: float = CONFIDENCE) -> Ratio:
    """The same of rounds that took turns: (the reference's value, the other's) of each pair."""
    logs = np.log(np.asarray(pairs, dtype=float))
    differences = logs[:, 1] - logs[:, 0]
    n = len(differences)
    if n < 2:  # noqa: PLR2004 - one pair has no spread
        return Ratio(_exp(float(differences.mean())))
    return around(float(differences.mean()), float(differences.std(ddof=1)) / math.sqrt(n), n - 1, confidence)


def around(log_ratio: float, error: float, df: float, confidence: float = CONFIDENCE) -> Ratio:
    """A ratio with its interval, from its logarithm, the standard error of that and its degrees of freedom."""
    half = float(special.stdtrit(df, (1 + confidence) / 2)) * error if error > 0 else 0.0
    return Ratio(_exp(log_ratio), _exp(log_ratio - half), _exp(log_ratio + half))


def around_exact(value: float) -> Ratio:
    """A ratio without noise."""
    return Ratio(value, value, value)


def goodness(metric: Metric, found: Ratio) -> Ratio:
    """The ratio turned so that more is better: times as good as the reference."""
    if metric.better is Better.HIGHER:
        return found
    low, high = (None if end is None else 1 / end if end else math.inf for end in (found.high, found.low))
    return Ratio(1 / found.value, low, high)


def _welch_df(var_a: float, n_a: int, var_b: float, n_b: int, known: float = 0.0) -> float:
    """Welch's degrees of freedom from the variances of both means; any will do where no round differs from another.

    known: a variance that is not estimated from the rounds: it has all degrees of freedom.
    """
    total = var_a + var_b + known
    if total <= 0:
        return 1.0
    of_a, of_b = var_a / total, var_b / total  # shares, lest squares of tiny variances vanish
    return 1 / max(of_a**2 / (n_a - 1) + of_b**2 / (n_b - 1), 1 / MOST_DF)


def geometric_mean(values: Sequence[float]) -> float:
    """The figure of a side with these rounds."""
    return _exp(float(np.log(np.asarray(values)).mean()))


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _gaps(side: Side, concurrency: int) -> list[str]:
    found = side.at(concurrency)
    if any(one.values for one in found):
        return []
    reasons = (f"{place(one)}: {why}" for one in found for why in (*one.invalid, *one.absent.values()))
    return [f"{side.name}: {line}" for line in reasons] or [f"{side.name}: nothing at concurrency {concurrency}"]


def _missing(side: Side, levels: Iterable[int]) -> Iterator[str]:
    for level in levels:
        found = side.at(level)
        if not found:
            yield f"{side.name}: nothing at concurrency {level}"
            continue
        absent = [number for number in side.rounds if number not in {one.round for one in found}]
        if absent:
            yield f"{side.name}: concurrency {level} has no round {', '.join(map(str, absent))}"
    for reason, places in _absences(side).items():
        yield f"{side.name}: {reason} ({places})"


def _absences(side: Side) -> dict[str, str]:
    """Why values are absent -> in which files, shortened."""
    out: dict[str, list[str]] = {}
    for one in side.results:
        for reason in one.absent.values():
            out.setdefault(reason, []).append(place(one))
    return {why: f"{found[0]}" + (f" and {len(found) - 1} more" if found[1:] else "") for why, found in out.items()}


def place(result: Result) -> str:
    """'round 2, concurrency 16'."""
    return f"round {result.round}, concurrency {result.concurrency}"
