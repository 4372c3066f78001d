"""How long prompts and outputs are, in tokens: fixed, or drawn from a distribution."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from perfgate.errors import UsageError
from perfgate.plain_file import read_up_to

MAX_TOKENS = 10_000_000  # of one prompt or output: more is a mistake
_MAX_BYTES = 10_000_000  # of a histogram file
_FORMS = (
    "512, uniform:LOW:HIGH, normal:MEAN:SD:LOW:HIGH, lognormal:MEAN:SD:LOW:HIGH (of the lengths themselves) "
    "or a histogram file (.json, .csv)"
)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every length the same."""

    tokens: int

    @property
    def least(self) -> int:
        return self.tokens

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:  # noqa: ARG002 - as its siblings
        return np.full(count, self.tokens, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every length from `low` to `high` equally likely, both included."""

    low: int
    high: int

    @property
    def least(self) -> int:
        return self.low

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        return random.integers(self.low, self.high, count, dtype=np.int64, endpoint=True)


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal distribution cut off at `low` and `high`: what lies outside is not moved to the bounds but not drawn.

    is_log: the logarithm is normal; mean and sd are still those of the lengths, before the cut.
    """

    mean: float
    sd: float
    low: int
    high: int
    is_log: bool = False

    @property
    def least(self) -> int:
        return self.low

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Draw by the inverse of the cut distribution's function; rounding gives whole tokens.

        Raises:
            UsageError: practically nothing of the distribution lies within the bounds.
        """
        centre, width = _log_moments(self.mean, self.sd) if self.is_log else (self.mean, self.sd)
        edges = np.array([self.low - 0.5, self.high + 0.5])
        low, high = map(float, ndtr(((np.log(edges) if self.is_log else edges) - centre) / width))
        if not high - low > _LEAST_INSIDE:
            raise UsageError(f"less than {_LEAST_INSIDE:g} of {self} lies within its bounds: widen them")
        found = centre + width * ndtri(random.uniform(low, high, count))
        rounded = np.rint(np.exp(found) if self.is_log else found)
        return np.asarray(np.clip(rounded, self.low, self.high), dtype=np.int64)

    def __str__(self) -> str:
        name = "lognormal" if self.is_log else "normal"
        return f"{name}:{self.mean:g}:{self.sd:g}:{self.low}:{self.high}"


_LEAST_INSIDE = 1e-6  # share of a distribution within its bounds, below which they are a mistake


def _log_moments(mean: float, sd: float) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm of a lognormal variable with that mean and sd."""
    variance = math.log1p((sd / mean) ** 2)
    return math.log(mean) - variance / 2, math.sqrt(variance)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Lengths as they were seen: each with its weight (any unit)."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def least(self) -> int:
        return min(length for length, weight in zip(self.tokens, self.weights, strict=True) if weight > 0)

    def draw(self, count: int, random: np.random.Generator) -> NDArray[np.int64]:
        weights = np.array(self.weights)
        return random.choice(np.array(self.tokens, dtype=np.int64), count, p=weights / weights.sum())


Lengths = Fixed | Uniform | Normal | Histogram


def parse_lengths(text: str, folder: Path = Path()) -> Lengths:
    """Read a length as a command line or a suite writes it; a histogram's path counts from `folder`.

    Raises:
        UsageError: it is no such text, or a number is out of bounds.
    """
    name, *rest = text.strip().split(":")
    readers: Mapping[str, Callable[[Sequence[float]], Lengths]] = {
        "uniform": _uniform,
        "normal": lambda numbers: _normal(numbers, is_log=False),
        "lognormal": lambda numbers: _normal(numbers, is_log=True),
    }
    try:
        if name in readers:
            return readers[name]([float(word) for word in rest])
        if not rest and Path(name).suffix in _READERS:
            return read_histogram(folder / name)
        return Fixed(_tokens(int(text)))
    except ValueError as exc:
        raise UsageError(f"found the length '{text[:80]}', expected {_FORMS}") from exc


def _uniform(numbers: Sequence[float]) -> Uniform:
    low, high = map(_tokens, numbers)
    if low > high:
        raise UsageError(f"uniform: the low end {low} is above the high end {high}")
    return Uniform(low, high)


def _normal(numbers: Sequence[float], *, is_log: bool) -> Normal:
    mean, sd, *bounds = numbers
    low, high = map(_tokens, bounds)
    if not (0 < mean < math.inf and 0 < sd < math.inf):
        raise UsageError(f"found a mean of {mean:g} and a standard deviation of {sd:g}, expected both above 0")
    if low > high:
        raise UsageError(f"normal: the low end {low} is above the high end {high}")
    return Normal(mean, sd, low, high, is_log)


def _tokens(number: float) -> int:
    if not (1 <= number <= MAX_TOKENS and number == int(number)):
        raise UsageError(f"found a length of {number:g} tokens, expected a whole number from 1 to {MAX_TOKENS}")
    return int(number)


# ------------------------------------------------------------------ histogram files


def read_histogram(path: Path) -> Histogram:
    """A histogram from JSON ({"128": 3, "256": 1}, or [[128, 3], [256, 1]]) or CSV (length,weight; a header may stand).

    Raises:
        UsageError: the file cannot be read, or an entry is no length with a weight.
    """
    try:
        data = read_up_to(path, _MAX_BYTES)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"the histogram {path} is larger than {_MAX_BYTES} bytes")
        entries = [_entry(*pair) for pair in _READERS[path.suffix](data.decode())]
    except OSError as exc:
        raise UsageError(f"the histogram {path} cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, OverflowError, RecursionError, csv.Error) as exc:
        raise UsageError(f"the histogram {path} holds no pairs of a length and a weight: {exc}") from exc
    if not any(weight for _, weight in entries):
        raise UsageError(f"the histogram {path} has no entry with a weight above 0")
    return Histogram(tuple(length for length, _ in entries), tuple(weight for _, weight in entries))


def _entry(length: Any, weight: Any) -> tuple[int, float]:
    number = float(weight)
    if isinstance(length, bool) or isinstance(weight, bool) or not 0 <= number < math.inf:
        raise ValueError(f"found {length!r}, {weight!r}; expected whole tokens and a weight of 0 or more")
    return _tokens(float(length)), number


def _json_pairs(text: str) -> Iterator[Sequence[Any]]:
    plain = json.loads(text)
    yield from (plain.items() if isinstance(plain, dict) else plain)


def _csv_pairs(text: str) -> Iterator[Sequence[Any]]:
    rows = [row for row in csv.reader(io.StringIO(text, newline=None)) if row]
    has_header = bool(rows) and not rows[0][0].strip().isdigit()
    yield from rows[has_header:]


_READERS: Mapping[str, Callable[[str], Iterator[Sequence[Any]]]] = {".json": _json_pairs, ".csv": _csv_pairs}
