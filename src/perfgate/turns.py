"""Turns: measuring processes that run one at a time, block by block, so that all see the same machine.

A child asks for a turn over its standard input (a socket), does one block of work and gives the
turn back; the parent grants turns in the order A B B A A B B A. Interference that lasts longer
than a block then hits both sides of a comparison alike.
"""

from __future__ import annotations

import math
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from perfgate.errors import RoundError
from perfgate.fault_kinds import ProcessFault
from perfgate.process import GRACE_S, HERE, Ended, Interpreter, ended_after, start_module
from perfgate.stopping import breakable

Turn = Callable[[], AbstractContextManager[None]]

_ASK, _GO, _DONE = b"a", b"g", b"d"


@contextmanager
def turn_from_parent() -> Iterator[None]:
    """In a child: wait for the turn, hold it for the body, give it back.

    Raises:
        SystemExit: the parent is gone.
    """
    with socket.socket(fileno=0) as line:
        try:
            with _ending_with_parent():
                line.sendall(_ASK)
                if line.recv(1) != _GO:
                    raise ConnectionError
            yield
            with _ending_with_parent():
                line.sendall(_DONE)
        finally:
            line.detach()  # standard input stays open for the next turn


@contextmanager
def _ending_with_parent() -> Iterator[None]:
    """One line in the log instead of a traceback: a child whose parent was ended has no fault of its own."""
    try:
        yield
    except ConnectionError:
        raise SystemExit("the parent process is gone") from None


@dataclass(frozen=True, slots=True)
class Launch:
    """A module to run as a child, its log, the Python that runs it, and how long it is given to end in order.

    stall_s: it is ended when it has its turn, or is on the way to it, and makes no progress for so long.
    """

    module: str
    args: tuple[str, ...]
    log: Path
    interpreter: Interpreter = HERE
    grace_s: float = GRACE_S
    stall_s: float = math.inf
    kept_open: tuple[int, ...] = ()  # descriptors that it holds as long as it lives


class _Child:
    """A running child and our end of its line."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._line, theirs = socket.socketpair()
        with theirs:
            self._child = start_module(
                launch.module, launch.args, launch.log, theirs, launch.interpreter, launch.kept_open, launch.grace_s
            )
        self.watch = self._child.watch(launch.stall_s)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._child.process

    def grant(self, deadline: float) -> bool:
        """Give the child one turn; False when it has ended instead of asking for one."""
        if self._hear(deadline) != _ASK:
            return False
        self._line.sendall(_GO)
        return self._hear(deadline) == _DONE

    def _hear(self, deadline: float) -> bytes:
        self.watch.restart()
        while True:
            left_s = deadline - time.monotonic()
            self._line.settimeout(max(min(left_s, self.watch.every_s), 0.001))
            try:
                return self._line.recv(1)
            except ConnectionError:
                return b""
            except TimeoutError:
                if left_s <= self.watch.every_s:
                    raise
                self.watch.look()

    def end(self, most_s: float) -> None:
        self._line.close()
        self._child.end(most_s)


def run_in_turns(launches: Sequence[Launch], timeout_s: float) -> list[Ended]:
    """Run children to their ends, one turn at a time; a single child simply gets every turn.

    Raises:
        RoundError: they did not end in time, or one made no progress; all were killed.
    """
    begin = time.monotonic()
    children: list[_Child] = []
    logs = ", ".join(str(launch.log) for launch in launches)
    with ended_after(children):
        try:
            for launch in launches:
                children.append(_Child(launch))  # noqa: PERF401 - those started are ended where the next cannot be
            with breakable():
                _take_turns(children, begin + timeout_s)
                codes = [child.process.wait(max(begin + timeout_s - time.monotonic(), 0.001)) for child in children]
        except (TimeoutError, subprocess.TimeoutExpired) as exc:
            states = " and ".join(f"'{child.watch.state}'" for child in children)
            what = f"no end within {timeout_s:.0f} s: killed while {states} (log: {logs})"
            raise RoundError(what, ProcessFault.DEADLINE) from exc
        except RoundError as exc:
            raise RoundError(f"{exc} (log: {logs})", exc.kind) from exc
    return [Ended(code, launch.log) for code, launch in zip(codes, launches, strict=True)]


def _take_turns(children: Sequence[_Child], deadline: float) -> None:
    live = list(children)
    while live:
        live = [child for child in live if child.grant(deadline)][::-1]
