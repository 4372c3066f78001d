"""Load shapes: when each request of a run is due, and how many may be in flight.

Everything is decided before the run: a due time counts from the start, so a late wake delays one
request and not all that follow, as it does where a client sleeps from each request to the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from perfgate.errors import UsageError
from perfgate.load.ask import Ask, LoadPlan

MAX_REQUESTS = 10_000_000
_COUNT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)x|(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Count:
    """A number of requests: plain, or times the concurrency."""

    number: float
    is_per_slot: bool = False

    @classmethod
    def parse(cls, text: str) -> Count:
        """Read '200' or '5x' (five times the concurrency).

        Raises:
            UsageError: it is neither.
        """
        match = _COUNT.fullmatch(text.strip())
        if not match:
            raise UsageError(f"found '{text[:40]}', expected a number of requests: a count (200) or 5x the concurrency")
        per_slot, plain = match.groups()
        return cls(float(per_slot or plain), per_slot is not None)

    def of(self, concurrency: int | None) -> int:
        """How many requests that is at a concurrency; a part of one counts as one.

        Raises:
            UsageError: it is a multiple of a concurrency that has no limit, or too many.
        """
        if self.is_per_slot and concurrency is None:
            raise UsageError(
                f"{self.number:g}x is a multiple of the concurrency, which has no limit here: give a count"
            )
        number = math.ceil(self.number * (concurrency or 1)) if self.is_per_slot else int(self.number)
        if number > MAX_REQUESTS:
            raise UsageError(f"{number} requests are too many: at most {MAX_REQUESTS}")
        return number


class Arrivals(StrEnum):
    """How requests of an open loop are spread: evenly, or as independent users come."""

    CONSTANT = "constant"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Rate:
    """An open loop: requests a second, from the start of the run to its end in a straight line.

    A rate of infinity makes everything due at once.
    """

    start_per_s: float
    end_per_s: float
    arrivals: Arrivals = Arrivals.POISSON

    @classmethod
    def steady(cls, per_s: float, arrivals: Arrivals = Arrivals.POISSON) -> Rate:
        return cls(per_s, per_s, arrivals)

    @property
    def mean_per_s(self) -> float:
        return (self.start_per_s + self.end_per_s) / 2

    def span_s(self, count: int) -> float:
        """Seconds in which `count` requests are due."""
        return count / self.mean_per_s


def due_times(rate: Rate, count: int, seed: int) -> NDArray[np.float64]:
    """When each of `count` requests is due, ascending: [count], seconds after the start, below `rate.span_s(count)`.

    Constant: the requests are due where the integral of the rate passes 0, 1, 2 and so on. Poisson: places
    in that integral drawn evenly and sorted, which is how arrivals of a Poisson process lie once their number
    is known (Ross, Stochastic Processes, 2nd ed., theorem 2.3.1); so the rate comes out as asked in every run.

    Raises:
        UsageError: a rate is not above 0.
    """
    _refuse_rate(rate)
    places = np.arange(count, dtype=np.float64)
    if rate.arrivals is Arrivals.POISSON:
        places = np.sort(np.random.default_rng(seed).uniform(0, count, count))
    return _when(rate, places, count)


def _when(rate: Rate, places: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The time at which the integral of the rate, r t + (r' - r) t^2 / 2T, reaches each place.

    The root is written with the sum below the line, which also holds where the rate does not change.
    """
    if not count or math.isinf(rate.mean_per_s):
        return np.zeros(count)
    slope = (rate.end_per_s - rate.start_per_s) / rate.span_s(count)
    return np.asarray(2 * places / (rate.start_per_s + np.sqrt(rate.start_per_s**2 + 2 * slope * places)))


def _refuse_rate(rate: Rate) -> None:
    for per_s in (rate.start_per_s, rate.end_per_s):
        if not per_s > 0:
            raise UsageError(f"found a rate of {per_s:g} requests/s, expected one above 0 (or inf: all at once)")
    if math.isinf(rate.mean_per_s) and rate.start_per_s != rate.end_per_s:
        raise UsageError("a ramp cannot begin or end at an infinite rate")


# ------------------------------------------------------------------ plans


def closed(asks: Sequence[Ask], concurrency: int, warmup: int = 0) -> LoadPlan:
    """A closed loop: `concurrency` requests in flight, the next one sent as soon as one is done.

    Warm-up requests are the first ones, under the same concurrency; measuring begins without a pause.

    Raises:
        UsageError: the concurrency is not above 0, or nothing would be measured.
    """
    if concurrency < 1:
        raise UsageError(f"found a concurrency of {concurrency}, expected 1 or more")
    _refuse_warmup(len(asks), warmup)
    return LoadPlan(tuple(replace(ask, due_s=None) for ask in asks), concurrency, warmup)


def steps(asks: Sequence[Ask], levels: Sequence[int], requests: Count, warmup: Count) -> tuple[LoadPlan, ...]:
    """A ramp of closed loops, one after the other: each level takes the next asks, its warm-up and its requests.

    Raises:
        UsageError: there are fewer asks than the levels take (see `asks_for`), or a level is not above 0.
    """
    wanted = asks_for(levels, requests, warmup)
    if wanted > len(asks):
        raise UsageError(f"the steps {', '.join(map(str, levels))} take {wanted} requests, there are {len(asks)}")
    plans, begin = [], 0
    for level in levels:
        end = begin + asks_for([level], requests, warmup)
        plans.append(closed(asks[begin:end], level, warmup.of(level)))
        begin = end
    return tuple(plans)


def asks_for(levels: Sequence[int], requests: Count, warmup: Count) -> int:
    """How many asks `steps` takes."""
    return sum(requests.of(level) + warmup.of(level) for level in levels)


def at_rate(asks: Sequence[Ask], rate: Rate, seed: int, warmup: int = 0, concurrency: int | None = None) -> LoadPlan:
    """An open loop: requests are sent when they are due, whether earlier ones are done or not.

    Warm-up requests are due before the others, at the rate with which those begin. A concurrency only
    limits what is in flight; latencies count from the due time, so waiting for a slot is in them.

    Raises:
        UsageError: a rate is not above 0, or nothing would be measured.
    """
    _refuse_warmup(len(asks), warmup)
    before = Rate.steady(rate.start_per_s, rate.arrivals)
    first = due_times(before, warmup, seed + 1)
    later = due_times(rate, len(asks) - warmup, seed) + before.span_s(warmup)
    due = [*first.tolist(), *later.tolist()]
    return LoadPlan(tuple(replace(ask, due_s=at) for ask, at in zip(asks, due, strict=True)), concurrency, warmup)


def replay(asks: Sequence[Ask], warmup: int = 0, concurrency: int | None = None) -> LoadPlan:
    """An open loop with the due times that the asks have already, as those of a trace do.

    Raises:
        UsageError: an ask has no due time, they do not ascend, or nothing would be measured.
    """
    _refuse_warmup(len(asks), warmup)
    latest = 0.0
    for number, ask in enumerate(asks):
        if ask.due_s is None or not latest <= ask.due_s < math.inf:
            raise UsageError(f"request {number} is due at {ask.due_s} s, expected {latest:g} s or later")
        latest = ask.due_s
    return LoadPlan(tuple(asks), concurrency, warmup)


def _refuse_warmup(count: int, warmup: int) -> None:
    if not 0 <= warmup < count:
        raise UsageError(f"{warmup} of {count} requests are warm-up: nothing is left to measure")
