"""Which figures the client itself may have moved, and how far: two events read as one make one gap too long.

A read that comes late moves no stamp, for the kernel gives them. But where a stream's next event arrives before the
last was read, both have the stamp of the later: one gap is told too long, one as nothing. Sums and means stay; a
percentile moves as soon as enough gaps are too long, which for p99 is 1 % and less where the tail is long already.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from perfgate.load.decode import Reading
from perfgate.load.request import RequestRecord
from perfgate.load.spread import percentile

_PROMPT_OF_GAP = 0.05  # a read this soon after its bytes, in parts of the time between reads, merged nothing itself
_LATE_OF_GAP = 0.5  # where reads are as late as this (p99), no merged read is put down to the server
_SIGMAS = 2.0
_MOVED = 0.02  # of the figure: less is not worth a word
_PERCENTS = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A figure that the client may have moved: it was told as told_s, and the truth may be as low as least_s."""

    figure: str  # "itl_p99"
    told_s: float
    least_s: float
    merged: int  # reads that held several events because the client was late

    @property
    def words(self) -> str:
        name = self.figure.replace("itl_", "ITL ")
        return (
            f"{name} may be as low as {self.least_s * 1e3:.2f} ms, told are {self.told_s * 1e3:.2f} ms: "
            f"{self.merged} reads that held several events came late to the client"
        )


def merged_by_client(readings: Sequence[Reading], gap_s: float | None) -> int:
    """How many reads held several events because the client was late; gap_s: time between reads of a stream.

    Servers send events together, too. How often, the prompt reads tell: what late reads hold beyond that (and beyond
    two standard deviations of it) is the client's.
    """
    lags = sorted(lag for reading in readings for lag in reading.lags_ns)
    merged = sorted(lag for reading in readings for lag in reading.merged_lags_ns)
    if not lags or not merged or gap_s is None:
        return 0
    bound = _PROMPT_OF_GAP * gap_s * 1e9
    if 2 * bisect_right(lags, bound) < len(lags):  # most reads are late
        if (percentile(lags, 0, 99) or 0) > _LATE_OF_GAP * gap_s * 1e9:
            return len(merged)
        bound = lags[len(lags) // 2]
    prompt, together = bisect_right(lags, bound), bisect_right(merged, bound)
    by_server = together / prompt * (len(lags) - prompt)
    return max(0, round(len(merged) - together - by_server - _SIGMAS * math.sqrt(by_server)))


def doubts(records: Iterable[RequestRecord], merged: int) -> tuple[Doubt, ...]:
    """The percentiles of ITL that so many gaps told too long may have moved by more than 2 %."""
    counted = [one for one in records if not one.is_warmup]
    failed = sum(one.fault is not None for one in counted)
    gaps = sorted(gap for one in counted if one.fault is None and one.is_stream for gap in one.token_gaps_ns)
    return tuple(_doubts(gaps, failed, merged)) if gaps and merged else ()


def _doubts(gaps: Sequence[int], failed: int, merged: int) -> Iterator[Doubt]:
    share = 100 * merged / (len(gaps) + failed)
    for percent in _PERCENTS:
        told, least = (percentile(gaps, failed, at) for at in (percent, max(0.0, percent - share)))
        if told is not None and least is not None and told - least > _MOVED * told:
            yield Doubt(f"itl_p{percent}", told / 1e9, least / 1e9, merged)
