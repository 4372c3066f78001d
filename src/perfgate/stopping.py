"""Stopped from outside: SIGTERM and SIGINT end the measuring, and what was measured is still judged and reported.

A signal interrupts only where nothing is half-written or half-begun: while something is waited for. Elsewhere it is
noted, and whoever measures looks before the next wait. Once it came, further ones change nothing until the reports
are written.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

GOES_ON = "the same command goes on from there"
ANEW = "the same command begins anew"
HURRY_S = 2.0  # what children are given to end when we are stopped: CI kills some seconds later


def goes_on(fresh: bool) -> str:  # noqa: FBT001 - the option itself
    """What is to be done next. fresh: whether the command was told to forget what is kept."""
    return "the same command without --fresh goes on from there" if fresh else GOES_ON


class Stopped(KeyboardInterrupt):
    """A signal came while we waited."""


class Stop:
    """Whether to stop; never, where no signals are watched."""

    def __init__(self) -> None:
        self.sign: signal.Signals | None = None
        self._may = False  # within `interrupts`, and nothing was ended yet
        self._now = False  # and where it stands now

    @contextmanager
    def interrupts(self, *, anywhere: bool = False) -> Iterator[None]:
        """Let a signal end the body, by `Stopped`: where it waits (`breakable`), or anywhere; also one before it.

        What the body has finished when a signal comes is not lost: only waits are ended.
        """
        if self.sign is not None:
            raise Stopped
        before, self._may = self._may, True
        try:
            with self.ending(now=anywhere):
                yield
        finally:
            self._may = before and self.sign is None

    @contextmanager
    def ending(self, *, now: bool) -> Iterator[None]:
        """Whether a signal ends the body at once; else it ends the next wait, or what comes after the body."""
        before, self._now = self._now, now and self._may
        try:
            self._look()
            yield
        finally:
            self._now = before and self._may
            self._look()  # also where the body failed

    def why(self, rounds: int, then: str) -> str:
        """'stopped by SIGTERM after 3 rounds: ...'; then: what the same command would do."""
        assert self.sign is not None
        counted = "1 round" if rounds == 1 else f"{rounds} rounds"
        return f"stopped by {self.sign.name} after {counted}: {then}"

    def note(self, number: int, _: FrameType | None = None) -> None:
        """A signal came."""
        if self.sign is None:
            self.sign = signal.Signals(number)
            self._look()

    def _look(self) -> None:
        if self._now and self.sign is not None:
            self._may = self._now = False
            raise Stopped


@contextmanager
def ended_by_signals(then: str) -> Iterator[Stop]:
    """Let SIGTERM and SIGINT end the body where it waits: one line, and exit code 1. then: what is to be done next.

    Raises:
        SystemExit: a signal came.
    """
    with stop_by_signals() as stop:
        try:
            with stop.interrupts():
                yield stop
        except Stopped:
            assert stop.sign is not None
            raise SystemExit(f"perfgate: stopped by {stop.sign.name}: {then}") from None


_watching: list[Stop] = []  # what signals are noted by, the innermost last


def unbroken() -> AbstractContextManager[None]:
    """Where children are started and ended: a signal ends nothing but what is `breakable` in it.

    So a child that was just started is known to whoever ends it, and none is left half-ended.
    """
    return _ending(now=False)


def breakable() -> AbstractContextManager[None]:
    """Where something is waited for: a signal ends that, if it may end anything here."""
    return _ending(now=True)


def _ending(*, now: bool) -> AbstractContextManager[None]:
    if not _watching or threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return _watching[-1].ending(now=now)


@contextmanager
def stop_by_signals() -> Iterator[Stop]:
    """Watch for SIGTERM and SIGINT during the body; outside the main thread nothing is watched."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    _watching.append(stop)
    before = {sign: signal.signal(sign, stop.note) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        _watching.remove(stop)
