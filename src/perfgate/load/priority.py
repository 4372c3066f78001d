"""Who runs first on a core that others use: the timed loop, as far as the system allows it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NICE = -10  # lower values have the balancer move all others off the core, also a server: see docs/client.md
_SLICE_NS = 100_000  # the shortest that the kernel takes
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}  # <asm/unistd.h>; the C library has no function
_AUTOGROUP = Path("/proc/self/autogroup")


class _Attr(ctypes.Structure):
    """struct sched_attr of <linux/sched/types.h>, first version."""

    _fields_ = (
        ("size", ctypes.c_uint32), ("policy", ctypes.c_uint32), ("flags", ctypes.c_uint64), ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32), ("runtime", ctypes.c_uint64), ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )  # fmt: skip


@contextmanager
def ahead() -> Iterator[int]:
    """Be preferred within the ordinary class; yields the nice value that was reached.

    Two things, each where allowed: a short slice (Linux 6.12 and newer, no right needed), so that this process runs
    when it wakes instead of when the slice of whoever runs is over; and nice -10 (CAP_SYS_NICE or RLIMIT_NICE). Who
    was started with a nice value above 0, or in another class, keeps it.
    """
    before = os.getpriority(os.PRIO_PROCESS, 0)
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield before
        return
    wished = min(before, _NICE) if before <= 0 else before
    if not _set(wished, _SLICE_NS):
        _set(before, _SLICE_NS)
    with _autogroup(os.getpriority(os.PRIO_PROCESS, 0)):
        try:
            yield os.getpriority(os.PRIO_PROCESS, 0)
        finally:
            _set(before, 0)


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


def _set(nice: int, slice_ns: int) -> bool:
    """Set nice value and slice (0: the system's own); whether the system allowed it."""
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return False
    attr = _Attr(size=ctypes.sizeof(_Attr), policy=os.SCHED_OTHER, nice=nice, runtime=slice_ns)
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attr), 0) == 0)


@contextmanager
def _autogroup(nice: int) -> Iterator[None]:
    """The same nice value for this process's autogroup: where the kernel forms them, only these are weighed.

    An autogroup is a session: one that others belong to is left alone.
    """
    before = _autogroup_nice() if os.getsid(0) == os.getpid() else None
    if before is None or nice >= before:
        yield
        return
    _set_autogroup(nice)
    try:
        yield
    finally:
        _set_autogroup(before)


def _autogroup_nice() -> int | None:
    """The nice value of the autogroup ('/autogroup-12 nice 0'); None where the kernel forms none."""
    try:
        return int(_AUTOGROUP.read_text().rpartition(" ")[2])
    except (OSError, ValueError):
        return None


def _set_autogroup(nice: int) -> None:
    with contextlib.suppress(OSError):
        _AUTOGROUP.write_text(str(nice))
