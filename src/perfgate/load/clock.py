"""Kernel receive stamps (CLOCK_REALTIME) on the monotonic clock that everything else is told by."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_TRIES = 3
_JUMP_NS = 1_000_000  # the real-time clock was set, not slewed: slewing moves it at most 0.5 ms a second
_NEVER_NS = 1 << 62

_Line: TypeAlias = tuple[int, int, int, int]  # offset = first + second * (time - third) // fourth


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
    line, at, until_ns = _line_at(offsets, 0, loop_ns[0])
    for own, seconds, nanos in zip(loop_ns, pairs[::2], pairs[1::2], strict=True):
        if own >= until_ns:
            line, at, until_ns = _line_at(offsets, at, own)
        stamp = own
        if line is not None and seconds:
            offset, step, begin, span = line
            stamp = seconds * 1_000_000_000 + nanos - offset - step * (own - begin) // span
        if last <= stamp < own:
            used += 1
            last = stamp
        else:
            last = own
        out.append(last)
    return Stamps(tuple(out), used)


def in_order(offsets: Iterable[Offset]) -> tuple[Offset, ...]:
    return tuple(sorted(offsets, key=lambda one: one.at_ns))


def _line_at(offsets: Sequence[Offset], at: int, now_ns: int) -> tuple[_Line | None, int, int]:
    """The offset's line at a time, which offset stands before it (from `at` on), and until when it holds.

    It is drawn through the two neighbours; level before the first and behind the last; None where the offset jumped
    between the two.
    """
    while at + 2 < len(offsets) and offsets[at + 1].at_ns <= now_ns:
        at += 1
    first, last = offsets[at], offsets[min(at + 1, len(offsets) - 1)]
    if now_ns < first.at_ns:
        return (first.offset_ns, 0, 0, 1), at, first.at_ns
    if now_ns >= last.at_ns:
        return (last.offset_ns, 0, 0, 1), at, _NEVER_NS
    step = last.offset_ns - first.offset_ns
    line = (first.offset_ns, step, first.at_ns, last.at_ns - first.at_ns)
    return (None if abs(step) > _JUMP_NS else line), at, last.at_ns
