"""A timer that epoll can wait for, to the microsecond: epoll's own time-out counts in milliseconds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

_CLOCK_MONOTONIC = time.CLOCK_MONOTONIC
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME, <linux/timerfd.h>


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanos", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """A timerfd on CLOCK_MONOTONIC. `fd` becomes readable at the time set; setting it again disarms that."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self.fd = int(libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._value = _Itimerspec()
        self._at_ns = 0

    def set(self, at_ns: int) -> None:
        """Ring at a monotonic time; a time that has passed rings at once."""
        if at_ns == self._at_ns:
            return
        self._at_ns = at_ns
        self._value.value.seconds, self._value.value.nanos = divmod(at_ns, 1_000_000_000)
        self._settime(self.fd, _ABSOLUTE, ctypes.byref(self._value), None)

    def clear(self, fd: int) -> bool:
        """Stop ringing, if it is this descriptor that rang; whether it was."""
        if fd != self.fd:
            return False
        self._at_ns = 0
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)
        return True

    def close(self) -> None:
        os.close(self.fd)
