"""Kernel receive stamps (CLOCK_REALTIME) on the monotonic clock that everything else is told by."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_TRIES = 3
_HOLDS_NS = 20_000_000
_JUMP_NS = 1_000_000  # the real-time clock was set, not slewed: slewing moves it at most 0.5 ms a second


@dataclass(frozen=True, slots=True)
class Offset:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC at a monotonic time."""

    at_ns: int
    offset_ns: int


def take_offset() -> Offset:
    """The offset now, from the tightest of three sandwiches (a monotonic reading on either side)."""
    best = None
    for _ in range(_TRIES):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if best is None or after - before < best[0]:
            best = after - before, (before + after) // 2, real
    assert best is not None
    return Offset(best[1], best[2] - best[1])


@dataclass(frozen=True, slots=True)
class Stamps:
    """When reads came, monotonic ns: by the kernel where it said so, else by the loop.

    from_kernel: how many reads have a kernel stamp that was used.
    """

    at_ns: tuple[int, ...]
    from_kernel: int


def stamps(loop_ns: Sequence[int], kernel: bytes, offsets: Sequence[Offset]) -> Stamps:
    """Stamps of one connection's reads, in order.

    kernel: a C timespec (two native 64-bit numbers) for each read, zeros where the kernel gave none.
    A kernel stamp is not used where the real-time clock was set between two offsets, or where it lies after the
    loop's own stamp or before the read before it: then it says nothing.
    """
    pairs = array("q", kernel)
    if not offsets or not any(pairs):
        return Stamps(tuple(loop_ns), 0)
    out, used, last = list[int](), 0, 0
    offset, at, until_ns = _offset_at(offsets, 0, loop_ns[0])
    for own, seconds, nanos in zip(loop_ns, pairs[::2], pairs[1::2], strict=True):
        if own >= until_ns:
            offset, at, until_ns = _offset_at(offsets, at, own)
        stamp = own if offset is None or not seconds else seconds * 1_000_000_000 + nanos - offset
        if last <= stamp < own:
            used += 1
            last = stamp
        else:
            last = own
        out.append(last)
    return Stamps(tuple(out), used)


def in_order(offsets: Iterable[Offset]) -> tuple[Offset, ...]:
    return tuple(sorted(offsets, key=lambda one: one.at_ns))


def _offset_at(offsets: Sequence[Offset], at: int, now_ns: int) -> tuple[int | None, int, int]:
    """The offset at a time, which offset stands before it (from `at` on), and until when this holds.

    It lies on the line through its two neighbours, and holds for 20 ms: slewing moves it 10 us at most in that.
    None where it jumped between the two.
    """
    while at + 2 < len(offsets) and offsets[at + 1].at_ns <= now_ns:
        at += 1
    first, last = offsets[at], offsets[min(at + 1, len(offsets) - 1)]
    step, span = last.offset_ns - first.offset_ns, last.at_ns - first.at_ns
    end_ns = now_ns + _HOLDS_NS if at + 2 >= len(offsets) else min(now_ns + _HOLDS_NS, last.at_ns)
    if abs(step) > _JUMP_NS:
        return None, at, end_ns
    part = min(max(now_ns - first.at_ns, 0), span)
    return first.offset_ns + (step * part // span if span else 0), at, end_ns
