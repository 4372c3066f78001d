"""Everything that a child of ours started is ended with it, also what left its process group; nothing else is touched.

What hangs below the child is seen while the child lives. What was re-parented when its parent died is known by
the mark in its environment, which every child of ours gets and hands on to what it starts.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress

from perfgate.process_tree import Process, carriers, descendants

VARIABLE = "PERFGATE_ROUND"
_KILL_S = 20.0  # after which what was sent SIGKILL counts as something that cannot be killed
_POLL_S = 0.02


def new_mark() -> str:
    """The value of the variable for a new child: its own mark after those of the children that we are in."""
    return ":".join(filter(None, [os.environ.get(VARIABLE), uuid.uuid4().hex]))


def below(root: int) -> frozenset[Process]:
    """What hangs below a child now; to be asked for before it is ended."""
    return descendants(root)


def reap(mark: str, known: frozenset[Process], patience_s: float) -> tuple[str, ...]:
    """End what carries a child's mark and what hung below it, once the child itself has ended.

    They are given `patience_s` to end by themselves: a server's keeper ends its server in order. Returns those that
    had to be killed, as 'pid command'.
    """
    deadline = time.monotonic() + patience_s
    while (left := _left(mark, known)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    told = {one: f"{one.pid} {one.command}" for one in left}
    deadline = time.monotonic() + _KILL_S
    while left and time.monotonic() < deadline:  # again and again: one may fork while others are being killed
        _kill(left)
        time.sleep(_POLL_S)
        left = _left(mark, known)
        told |= {one: f"{one.pid} {one.command}" for one in left if one not in told}
    return tuple(told[one] for one in sorted(told, key=lambda one: one.pid))


def _left(mark: str, known: frozenset[Process]) -> list[Process]:
    return [one for one in known | carriers(mark.encode()) if one.lives and one.pid != os.getpid()]


def _kill(processes: Iterable[Process]) -> None:
    """By a handle: a number that was given to another process meanwhile is not killed."""
    for one in processes:
        with suppress(ProcessLookupError, PermissionError):
            handle = os.pidfd_open(one.pid)
            try:
                if one.lives:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
