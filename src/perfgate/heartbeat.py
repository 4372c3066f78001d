"""How far a child process is: one short text in a file, which its parent looks at.

The parent names the file in a variable that the child's own children inherit; without it nothing is written.
Nothing inside a timed region beats.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from perfgate.printable import printable

VARIABLE = "PERFGATE_HEARTBEAT"
UNKNOWN = "starting"
_LONGEST = 1000  # bytes of a state that are read
STALL_S = 180.0  # without any progress, after which a child is ended where nothing else is said


def beat(state: str) -> None:
    """Say what begins now, such as 'loading the engine': the parent takes it for progress."""
    if path := os.environ.get(VARIABLE):
        with suppress(OSError):  # a full disk must not end a round
            Path(path).write_text(state)


def path_beside(log: Path) -> Path:
    """The file of a child with that log."""
    return log.with_suffix(".state")


@dataclass(frozen=True, slots=True)
class Beat:
    """The last thing that a child said, and when (ns, of the file system's clock)."""

    moment_ns: int
    state: str


def last_beat(path: Path) -> Beat:
    """What a child said last; 'starting' before its first word."""
    try:
        with path.open("rb") as file:
            state = file.read(_LONGEST).decode(errors="replace")
        return Beat(path.stat().st_mtime_ns, printable(state) or UNKNOWN)
    except OSError:
        return Beat(0, UNKNOWN)
