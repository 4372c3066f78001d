"""Stopped from outside: SIGTERM and SIGINT end the measuring, and what was measured is still judged and reported.

A signal interrupts only where nothing is half-written: while children run. Elsewhere it is noted, and whoever
measures looks before the next round. Once it came, further ones change nothing until the reports are written.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GOES_ON = "the same command goes on from there"
ANEW = "the same command begins anew"
HURRY_S = 2.0  # what children are given to end when we are stopped: CI kills some seconds later


class Stopped(KeyboardInterrupt):
    """A signal came while children ran."""


class Stop:
    """Whether to stop; never, where no signals are watched."""

    def __init__(self) -> None:
        self.sign: signal.Signals | None = None
        self._raises = False

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Let a signal end the body, by `Stopped`; also one that came before."""
        if self.sign is not None:
            raise Stopped
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def why(self, rounds: int, then: str) -> str:
        """'stopped by SIGTERM after 3 rounds: ...'; then: what the same command would do."""
        assert self.sign is not None
        counted = "1 round" if rounds == 1 else f"{rounds} rounds"
        return f"stopped by {self.sign.name} after {counted}: {then}"

    def note(self, number: int, _: FrameType | None = None) -> None:
        """A signal came."""
        if self.sign is not None:
            return
        self.sign = signal.Signals(number)
        if self._raises:
            self._raises = False
            raise Stopped


@contextmanager
def stop_by_signals() -> Iterator[Stop]:
    """Watch for SIGTERM and SIGINT during the body; outside the main thread nothing is watched."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {sign: signal.signal(sign, stop.note) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
