"""The real-time class for the timed loop, where it is wished for and the system allows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def real_time(*, is_wished: bool) -> Iterator[bool]:
    """Run before all ordinary processes of this core; yields whether that is so. Needs CAP_SYS_NICE or rtprio."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        if is_wished:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        is_wished = False
    try:
        yield os.sched_getscheduler(0) == os.SCHED_FIFO
    finally:
        if is_wished:
            os.sched_setscheduler(0, *before)
