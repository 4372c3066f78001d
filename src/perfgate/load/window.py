"""The steady part of a run: ramp-up and tail cut off, and said where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from perfgate.load.request import RequestRecord


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a run, monotonic ns; requests sent in it are its own."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9

    def holds(self, at_ns: int | None) -> bool:
        return at_ns is not None and self.start_ns <= at_ns < self.end_ns


def steady_window(records: Sequence[RequestRecord], concurrency: int | None) -> Window | None:
    """The stretch over which the load was what was asked; None where there is none.

    Closed loop: from the moment that every slot has held and ended its first request, and no warm-up is sent any
    more, to the last send. Then requests have lost their common start, and all slots are busy.
    Open loop: from one median request duration after the first counted send to the last send.
    """
    sent = sorted(one.sent_ns for one in records if one.sent_ns is not None)
    counted = sorted(one.sent_ns for one in records if one.sent_ns is not None and not one.is_warmup)
    if not counted:
        return None
    if concurrency is None:
        lasting = median(one.ended_ns - one.sent_ns for one in records if one.sent_ns is not None)
        start = counted[0] + int(lasting)
    else:
        first = sorted((one.sent_ns, one.ended_ns) for one in records if one.sent_ns is not None)[:concurrency]
        start = max(counted[0], *(ended for _, ended in first))
    return Window(start, sent[-1]) if start < sent[-1] else None


def mean_in_flight(records: Sequence[RequestRecord], window: Window) -> float:
    """Requests in flight, averaged over the time of the window."""
    if window.end_ns <= window.start_ns:
        return 0.0
    held = sum(
        max(0, min(one.ended_ns, window.end_ns) - max(one.sent_ns, window.start_ns))
        for one in records
        if one.sent_ns is not None
    )
    return held / (window.end_ns - window.start_ns)


def most_in_flight(records: Sequence[RequestRecord]) -> int:
    """The most requests in flight at one moment; one that ends as another is sent is not in flight with it."""
    edges = sorted(
        edge for one in records if one.sent_ns is not None for edge in ((one.sent_ns, 1), (one.ended_ns, -1))
    )
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most
