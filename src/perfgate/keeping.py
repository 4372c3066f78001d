"""Our side of the keeper (`perfgate.keeper`): it is started with the first child, and told of each."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perfgate.keeper import HEARD, Charge, as_file, born, coming, ended
from perfgate.reaping import VARIABLE as MARK

_END_S = 5.0


class _Line:
    """The keeper of this process and our end of its line."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here = str(Path(__file__).resolve().parent.parent)
        with theirs:
            self._keeper = subprocess.Popen(
                [sys.executable, "-S", "-m", "perfgate.keeper"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={"PYTHONPATH": here, "PYTHONSAFEPATH": "1"} | _handed_on(),
            )

    def tell(self, message: bytes, fds: tuple[int, ...] = ()) -> None:
        """Tell it, and wait until it has taken that: what it holds of a child that ended is free afterwards.

        Raises:
            ConnectionError: the keeper is gone.
        """
        socket.send_fds(self._socket, [message], list(fds))
        if self._socket.recv(1) != HEARD:
            raise ConnectionResetError("the keeper is gone")

    def close(self) -> None:
        """Let the keeper end; where we are a fork of the process that started it, only let go of its line."""
        self._socket.close()
        if self.owner == os.getpid():
            with suppress(subprocess.TimeoutExpired):
                self._keeper.wait(_END_S)


def _handed_on() -> dict[str, str]:
    """What a Python may need to start, and the mark of the child that we are in, with which the keeper is ended."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", MARK) if name in os.environ}


_lines: list[_Line] = []  # at most one; it belongs to the process, as its children do


@contextmanager
def kept(charge: Charge, held: tuple[int, ...]) -> Iterator[Callable[[int], None]]:
    """Let the keeper end a child if we end first, and trim its log; call what this gives with the child's pid.

    It is told before the child is started, so that none slips through; where that is interrupted, there may be a child
    that it has to end. held: descriptors that it keeps open, too.
    """
    secrets = as_file(charge.secrets)
    try:
        _tell(coming(charge), (secrets, *held))
    finally:
        os.close(secrets)
    try:
        yield lambda pid: _tell(born(charge.mark, pid))
    except Exception:  # there is no child
        release(charge.mark)
        raise


def release(mark: str) -> None:
    """The child was ended, with all that it started."""
    _tell(ended(mark))


def _tell(message: bytes, held: tuple[int, ...] = ()) -> None:
    """Where somebody killed the keeper, children that it knew are no longer kept; the next one has a new keeper."""
    try:
        _line().tell(message, held)
    except ConnectionError:
        _forget()


def _line() -> _Line:
    if _lines and _lines[0].owner != os.getpid():
        _forget()
    if not _lines:
        _lines.append(_Line())
    return _lines[0]


def _forget() -> None:
    while _lines:
        _lines.pop().close()


atexit.register(_forget)
