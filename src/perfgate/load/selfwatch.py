"""The client's watch over itself: was the server measured, or the client?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from perfgate.load.decode import Reading
from perfgate.load.doubts import Doubt, doubts, merged_by_client
from perfgate.load.rawfile import LoopEnd
from perfgate.load.request import RequestRecord
from perfgate.load.spread import Spread, spread
from perfgate.percent import percent

# Bounds of the verdict. Kernel stamps do not move when the loop is late, so lateness alone is no error: it becomes
# one when two events of a stream are read as one, or when slots stand empty.
_MERGED_SHARE = 0.05  # of reads, merged by the client: more than the tail of ITL is moved
_LATE_OF_E2EL = 0.01
_BUSY_UNSTAMPED = 0.8
_SATURATED = 0.95
_BUSY_GOAL = 0.7


@dataclass(frozen=True, slots=True)
class SelfWatch:
    """What the client knows of itself.

    lateness: from when a request could have been sent to its send(); the burst that opens a closed loop and
    requests that had to open a connection are left out. burst_s: how long that burst took.
    lag: from the kernel's stamp of a read to the loop's own. merged_share: reads that ended several events.
    cpu_share: of one core, mean over client processes. read_gap_s: mean time between reads of one stream.
    holds: the concurrency at which a client of this speed would be 70 % busy, where that can be told.
    limits: why the client, not the server, was the limit; empty: it was not.
    doubts: figures that the client may have moved, where it was not the limit of all.
    """

    lateness: Spread
    burst_s: float
    lag: Spread
    stamped_share: float
    merged_share: float
    cpu_share: float
    read_gap_s: float | None
    holds: int | None
    limits: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()


def self_watch(
    records: Sequence[RequestRecord], readings: Sequence[Reading], ends: Sequence[LoopEnd], concurrency: int | None
) -> SelfWatch:
    """Judge a run's client. records and readings go together; ends: one for each process of the client."""
    lateness = spread(_lateness_ns(records, concurrency))
    lag = spread([one for reading in readings for one in reading.lags_ns])
    reads, merged = sum(one.reads for one in readings), sum(one.merged for one in readings)
    stamped = lag.count / max(1, sum(one.all_reads for one in readings))
    busy = fmean(one.cpu_ns / max(1, one.ended_ns - one.started_ns) for one in ends) if ends else 0.0
    gap_s = _read_gap_s(records)
    by_client = merged_by_client(readings, gap_s)
    limits = [
        _late(lateness, records),
        _merged(lag, by_client / reads if reads else 0.0, gap_s),
        _saturated(busy, merged / reads if reads else 0.0),
        _unstamped(stamped, busy),
    ]
    return SelfWatch(
        lateness,
        _burst_s(records, concurrency),
        lag,
        stamped,
        merged / reads if reads else 0.0,
        busy,
        gap_s,
        _holds(reads, ends, busy, gap_s),
        tuple(filter(None, limits)),
        doubts(records, by_client),
    )


def _lateness_ns(records: Sequence[RequestRecord], concurrency: int | None) -> list[int]:
    return [
        one.sent_ns - one.ready_ns
        for one in records
        if one.sent_ns is not None and not one.opening_ns and not _is_of_burst(one, concurrency)
    ]


def _is_of_burst(one: RequestRecord, concurrency: int | None) -> bool:
    return concurrency is not None and not one.is_scheduled and one.index < concurrency


def _burst_s(records: Sequence[RequestRecord], concurrency: int | None) -> float:
    sent = [one.sent_ns for one in records if one.sent_ns is not None and _is_of_burst(one, concurrency)]
    return (max(sent) - min(sent)) / 1e9 if sent else 0.0


def _read_gap_s(records: Sequence[RequestRecord]) -> float | None:
    """Mean time between events of one stream that came at different times, the median over streams."""
    gaps = list[float]()
    for one in records:
        moments = sorted(set(one.event_ns))
        if one.is_stream and len(moments) > 1:
            gaps.append((moments[-1] - moments[0]) / (len(moments) - 1))
    return median(gaps) / 1e9 if gaps else None


def _late(lateness: Spread, records: Sequence[RequestRecord]) -> str:
    took = [one.ended_ns - one.sent_ns for one in records if one.sent_ns is not None and one.fault is None]
    if not took or lateness.mean_s is None:
        return ""
    e2el_s = fmean(took) / 1e9
    if lateness.mean_s <= _LATE_OF_E2EL * e2el_s:
        return ""
    return (
        f"requests were sent {lateness.mean_s * 1e3:.2f} ms late on average, more than {percent(_LATE_OF_E2EL, 0)} "
        f"of their duration of {e2el_s * 1e3:.1f} ms"
    )


def _merged(lag: Spread, share: float, gap_s: float | None) -> str:
    if gap_s is None or lag.p99_s is None or share <= _MERGED_SHARE:
        return ""
    return (
        f"reads came up to {lag.p99_s * 1e3:.2f} ms late (p99), events of a stream {gap_s * 1e3:.2f} ms apart, "
        f"and {percent(share)} of reads held several events for that"
    )


def _saturated(busy: float, share: float) -> str:
    if busy <= _SATURATED or share <= _MERGED_SHARE:
        return ""
    return f"the client used {percent(busy, 0)} of its core, and {percent(share)} of reads held several events"


def _unstamped(stamped: float, busy: float) -> str:
    if stamped > 0.5 or busy <= _BUSY_UNSTAMPED:  # noqa: PLR2004
        return ""
    return f"the client used {percent(busy, 0)} of its core, and no kernel stamps say how late it was"


def _holds(reads: int, ends: Sequence[LoopEnd], busy: float, gap_s: float | None) -> int | None:
    """Reads a second that a core manages at the goal's business, times the time between a stream's reads."""
    seconds = max((one.ended_ns - one.started_ns for one in ends), default=0) / 1e9
    if gap_s is None or seconds <= 0 or busy <= 0:
        return None
    return int(_BUSY_GOAL * reads / seconds / busy * gap_s)
