"""Kernel receive stamps (CLOCK_REALTIME) on the monotonic clock that everything else is told by."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_TRIES = 3
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
    out, used, at, last = list[int](), 0, 0, 0
    for own, seconds, nanos in zip(loop_ns, pairs[::2], pairs[1::2], strict=True):
        while at + 2 < len(offsets) and offsets[at + 1].at_ns <= own:
            at += 1
        offset = _between(offsets[at : at + 2], own)
        stamp = own if offset is None or not seconds else seconds * 1_000_000_000 + nanos - offset
        used += last <= stamp < own
        last = stamp if last <= stamp < own else own
        out.append(last)
    return Stamps(tuple(out), used)


def in_order(offsets: Iterable[Offset]) -> tuple[Offset, ...]:
    return tuple(sorted(offsets, key=lambda one: one.at_ns))


def _between(pair: Sequence[Offset], at_ns: int) -> int | None:
    """The offset at a time, on the line through its two neighbours; None where it jumped between them."""
    first, last = pair[0], pair[-1]
    step = last.offset_ns - first.offset_ns
    if abs(step) > _JUMP_NS:
        return None
    if last.at_ns <= first.at_ns or at_ns <= first.at_ns:
        return first.offset_ns
    return first.offset_ns + step * min(at_ns - first.at_ns, last.at_ns - first.at_ns) // (last.at_ns - first.at_ns)
