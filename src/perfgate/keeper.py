"""A small process beside ours that keeps our children: none outlives us, however we ended, and no log fills the disk.

Run as `python -m perfgate.keeper`; it imports little, as a child waits for it, and sleeps while nothing happens. It
hears of each child over its standard input, a socket whose other end the kernel closes with us. Then it ends what is
left, as `perfgate.process` would have: what ends by itself is let (a sampler puts clocks back, a supervisor ends its
server), the child's group gets SIGTERM and SIGKILL, and at last all that carries the child's mark. It masks secrets
in their logs, and holds the leases of its children until nothing of them is left.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from perfgate.process_tree import Process, process_of
from perfgate.reaping import below, reap

LOG_BYTES = 50_000_000  # of a child's log: as of a server's
LOOK_S = 0.25  # how often logs are looked at: a child that floods its log writes so long past the limit
_SELF_S = 1.0  # for children to see by themselves that their parent is gone
GROUP_S = 3.0  # between SIGTERM and SIGKILL to a child's group
_POLL_S = 0.02
_MESSAGE_BYTES = 8192
_MOST_FDS = 64
HEARD = b"k"  # the answer to each message


@dataclass(frozen=True, slots=True)
class Charge:
    """A child to keep: its mark, its log, and how long what it started is given to end in order.

    secrets: values that may stand in its log; they go to the keeper in a file without a name (`as_file`).
    """

    mark: str
    grace_s: float
    log: Path
    log_bytes: int = LOG_BYTES
    secrets: tuple[str, ...] = field(default=(), repr=False)


class Message(StrEnum):
    """What the keeper is told; each is one packet of lines, of which the first is this word."""

    COMING = "coming"  # mark, grace_s, log_bytes, log; descriptors: its secrets, what it holds; it is about to start
    BORN = "born"  # mark, pid
    ENDED = "ended"  # mark: with all that it started


def coming(charge: Charge) -> bytes:
    return os.fsencode(f"{Message.COMING}\n{charge.mark}\n{charge.grace_s}\n{charge.log_bytes}\n{charge.log}")


def as_file(secrets: tuple[str, ...]) -> int:
    """The descriptor of a file in memory that holds them, for the caller to close.

    So they stand in no command line or environment, and may be longer than a packet.
    """
    handle = os.memfd_create("perfgate")
    with os.fdopen(os.dup(handle), "wb") as out:
        out.write(os.fsencode("\0".join(secrets)))  # a variable's value holds no NUL
    return handle


def _secrets_of(handle: int) -> tuple[str, ...]:
    with os.fdopen(handle, "rb") as file:
        file.seek(0)
        return tuple(filter(None, os.fsdecode(file.read()).split("\0")))


def born(mark: str, pid: int) -> bytes:
    return f"{Message.BORN}\n{mark}\n{pid}".encode()


def ended(mark: str) -> bytes:
    return f"{Message.ENDED}\n{mark}".encode()


@dataclass(slots=True)
class Kept:
    """A child under our eyes. fds: what it holds as long as it lives, which we hold with it."""

    charge: Charge
    fds: list[int]
    log: Trimmed
    process: Process | None = None  # until it was started

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.lives

    def signal(self, sign: signal.Signals) -> None:
        """To its group, of which it is the leader."""
        if self.process is not None and self.process.lives:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, sign)

    def below(self) -> frozenset[Process]:
        return below(self.process.pid) if self.process is not None and self.process.lives else frozenset()

    def close(self) -> None:
        for one in self.fds:
            os.close(one)


@dataclass(slots=True)
class Trimmed:
    """A log that its writers append to: above `most` bytes its middle is left out, head and tail stay.

    The tail moves to the head before the file is cut behind it: a writer that is faster than we are comes after both.
    """

    path: Path
    most: int = LOG_BYTES
    left_out: int = field(default=0)

    def look(self) -> None:
        """Cut the log where it is too long. What is written between reading and cutting is left out, too."""
        with suppress(OSError):  # gone
            if self.path.stat().st_size > self.most:
                self._cut()

    def _cut(self) -> None:
        head, tail = self.most // 2, self.most // 4
        with self.path.open("rb+") as file:
            size = file.seek(-tail, os.SEEK_END) + tail
            last = file.read(tail)
            self.left_out += size - head - len(last)
            kept = b"\nperfgate: %d bytes of this log were left out here\n" % self.left_out + last
            file.seek(head)
            file.write(kept)
            file.truncate(head + len(kept))


def main() -> int:
    """Keep children until our parent is gone, then end what is left of them."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)  # they are for our parent, whose end is what we wait for
    os.chdir("/")
    kept: dict[str, Kept] = {}
    with socket.socket(fileno=0) as line:
        while _hear(line, kept):
            for one in kept.values():
                one.log.look()
    _end_all(list(kept.values()))
    return 0


def _hear(line: socket.socket, kept: dict[str, Kept]) -> bool:
    """Take one message, or none within a look's time where a child has a log; False: our parent is gone."""
    if not select.select([line], [], [], LOOK_S if kept else None)[0]:
        return True
    try:
        data, fds, _, _ = socket.recv_fds(line, _MESSAGE_BYTES, _MOST_FDS)
    except ConnectionError:
        return False
    if not data:
        return False
    _take(os.fsdecode(data), fds, kept)
    with suppress(ConnectionError):
        line.send(HEARD)
    return True


def _take(message: str, fds: list[int], kept: dict[str, Kept]) -> None:
    what, mark, *words = message.split("\n", maxsplit=4)
    match Message(what):
        case Message.COMING:
            secrets, *held = fds
            charge = Charge(mark, float(words[0]), Path(words[2]), int(words[1]), _secrets_of(secrets))
            kept[mark] = Kept(charge, held, Trimmed(charge.log, charge.log_bytes))
        case Message.BORN:
            if one := kept.get(mark):
                one.process = process_of(int(words[0]))
        case Message.ENDED:
            if one := kept.pop(mark, None):
                one.close()


def _end_all(kept: list[Kept]) -> None:
    trees = {one.charge.mark: one.below() for one in kept}
    _wait(kept, _SELF_S)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for one in kept:
            trees[one.charge.mark] |= one.below()
            one.signal(sign)
        _wait(kept, GROUP_S)
    for one in kept:
        reap(one.charge.mark, trees[one.charge.mark], one.charge.grace_s)
        _scrub(one.charge)  # while nobody else can have what it held, and begin the log anew
        one.close()


def _scrub(charge: Charge) -> None:
    from perfgate.engines.scrubbing import scrub  # only here: our parent's first child does not wait for it
    from perfgate.engines.supervisor import parts

    for part in parts(charge.log):
        scrub(part, charge.secrets)


def _wait(kept: list[Kept], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while any(one.lives for one in kept) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
