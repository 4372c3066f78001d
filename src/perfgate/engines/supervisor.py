"""A small process that keeps a server: its log bounded, its end told, and no process of it left behind.

Run as a file, `python -I -S supervisor.py`, by `perfgate.engines.openai`; it imports the standard
library alone. It ends the server when its standard input closes, which the kernel also does for a parent
that was killed. Being a subreaper it inherits every orphan of the server, so that none escapes, whatever
group or session it made for itself. Should it be killed itself, the kernel kills the server's main process.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Self

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_POLL_S = 0.02
_CHUNK = 65536
_CANNOT_START = 127  # as a shell says it
_KILL_S = 20.0  # after which a process that was sent SIGKILL counts as one that cannot be killed
_DRAIN_S = 2.0  # for the last words of a server


def main() -> int:
    """Run a server until it ends or our input closes.

    The first line of the input is the job: argv, log, log_bytes, and how long SIGINT and SIGTERM are
    given, interrupt_s and terminate_s. Writes one JSON line {"pid": ...} or {"error": ...} when the
    server is started, and {"code": ..., "left": [...]} at the end: left are processes that cannot be killed.
    """
    job = json.loads(_read_line())
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, lambda *_: stop.set())
    with BoundedLog(Path(job["log"]), job["log_bytes"]) as log:
        try:
            server = _start(job["argv"], libc)
        except OSError as exc:
            _say(error=exc.strerror)
            return _CANNOT_START
        _say(pid=server.pid)
        pump = _thread(lambda: _pump(server.stdout, log))
        _thread(lambda: _wait_for_close(stop))
        code, left = _keep(server, stop, job["interrupt_s"], job["terminate_s"])
        pump.join(_DRAIN_S)
        _say(code=code, left=left)
    return 0


def _read_line() -> bytes:
    """The first line of our input, byte by byte: what follows is for another reader."""
    line = b""
    while (byte := os.read(0, 1)) not in {b"", b"\n"}:
        line += byte
    return line


def _thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _start(argv: list[str], libc: ctypes.CDLL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - an argument list, never a shell
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),  # noqa: PLW1509 - no thread yet
    )


def _keep(
    server: subprocess.Popen[bytes], stop: threading.Event, interrupt_s: float, terminate_s: float
) -> tuple[int | None, list[int]]:
    """Wait for the server's end, for `stop` or for our parent's end, then end all that the server started.

    Returns the server's exit code and the processes that could not be killed.
    """
    parent = os.getppid()
    while server.poll() is None and os.getppid() == parent and not stop.wait(_POLL_S):
        pass
    for sign, patience_s in ((signal.SIGINT, interrupt_s), (signal.SIGTERM, terminate_s)):
        if server.poll() is None:
            _signal_group(server.pid, sign)
            _wait(server, patience_s)
    left = _kill_all(server)
    return server.poll(), left


def _signal_group(group: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, sign)


def _wait(server: subprocess.Popen[bytes], patience_s: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(patience_s)


def _kill_all(server: subprocess.Popen[bytes]) -> list[int]:
    """Kill what is left, again and again: a process may fork while the others are being killed.

    Returns those that live on: a process that waits inside a driver cannot be killed.
    """
    deadline = time.monotonic() + _KILL_S
    while (left := list(descendants(os.getpid()))) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.poll()  # its object reaps it and keeps the exit code; orphans are ours to reap
        for pid in left:
            if pid != server.pid:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        time.sleep(_POLL_S)
    return left


def descendants(root: int) -> Iterator[int]:
    """Children of a process, their children and so on, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                stat = (entry / "stat").read_text(errors="replace")
                parent = int(stat.rpartition(")")[2].split()[1])  # the name before may hold anything
                children.setdefault(parent, []).append(int(entry.name))
    found = children.get(root, [])
    while found:
        yield from found
        found = [child for pid in found for child in children.get(pid, [])]


def _wait_for_close(stop: threading.Event) -> None:
    while os.read(0, _CHUNK):
        pass
    stop.set()


def _say(**words: Any) -> None:
    """One line to our parent, who may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(words).encode() + b"\n")


# ------------------------------------------------------------------ the log


class BoundedLog:
    """A log of at most `most` bytes: the first half stays, of the rest the last part, in PATH.tail[.old]."""

    def __init__(self, path: Path, most: int) -> None:
        self._path, self._room, self._quarter = path, max(2, most // 2), max(1, most // 4)
        for part in parts(path):
            part.unlink(missing_ok=True)
        self._file = _open(path)

    def write(self, data: bytes) -> None:
        while data:
            if not self._room:
                self._turn()
            self._file.write(data[: self._room])
            data, self._room = data[self._room :], self._room - len(data[: self._room])

    def _turn(self) -> None:
        self._file.close()
        _, older, newer = parts(self._path)
        if newer.exists():
            newer.replace(older)
        self._file, self._room = _open(newer), self._quarter

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def parts(path: Path) -> tuple[Path, Path, Path]:
    """The files that a bounded log may have, in the order in which they were written."""
    return path, path.with_name(f"{path.name}.tail.old"), path.with_name(f"{path.name}.tail")


def _open(path: Path) -> IO[bytes]:
    """A new file for our user alone: a server may write a key into its log."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)  # noqa: PTH123


def _pump(source: IO[bytes] | None, log: BoundedLog) -> None:
    """What the server writes, into the log. A disk that is full must not stop the server."""
    assert source is not None
    with contextlib.suppress(ValueError):  # the log is closed: we are ending
        while data := os.read(source.fileno(), _CHUNK):
            with contextlib.suppress(OSError):
                log.write(data)


if __name__ == "__main__":
    sys.exit(main())
