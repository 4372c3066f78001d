"""A GPU as a queue: what is launched starts when all before it has ended; its clock is 1 GHz."""

from __future__ import annotations

import time
from types import SimpleNamespace

ends_at_s = 0.0


def launch(seconds: float) -> float:
    """Queue work of a length; returns when it will have ended (perf_counter)."""
    global ends_at_s  # noqa: PLW0603 - the one GPU
    ends_at_s = max(ends_at_s, time.perf_counter()) + seconds
    return ends_at_s


def wait_until(moment_s: float) -> None:
    while time.perf_counter() < moment_s:
        pass


def _sleep(cycles: int) -> None:
    launch(cycles / 1e9)


def is_available() -> bool:
    return True


def max_memory_reserved() -> int:
    return 123_000_000


class Event:
    def __init__(self, *, enable_timing: bool = False) -> None:
        assert enable_timing
        self._at_s = 0.0

    def record(self) -> None:
        self._at_s = launch(0.0)

    def synchronize(self) -> None:
        wait_until(self._at_s)

    def elapsed_time(self, other: Event) -> float:
        """Milliseconds."""
        return (other._at_s - self._at_s) * 1e3


def get_device_properties(device: int) -> SimpleNamespace:
    return SimpleNamespace(name="NVIDIA H200 double", major=9, minor=0, total_memory=150_754_820_096, device=device)
