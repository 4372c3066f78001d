"""CPU time, disk traffic and memory of a process and everything that it started (`proc(5)`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_STATE, _PARENT, _CPU, _START = 0, 1, slice(11, 15), 19  # fields behind the name; CPU: utime, stime, cutime, cstime
_DISK = ("read_bytes:", "write_bytes:")


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one of the same number: start is in ticks since boot."""

    pid: int
    start: int

    @property
    def lives(self) -> bool:
        """Whether it still runs; one that nobody has waited for has ended."""
        words = _stat(self.pid)
        return words is not None and int(words[_START]) == self.start and words[_STATE] not in "ZX"

    @property
    def command(self) -> str:
        """Its command line, shortened; its name where it hides that."""
        with suppress(OSError):
            line = (
                (_PROC / str(self.pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            )
            return line[:120] or (_PROC / str(self.pid) / "comm").read_text().strip()
        return "gone"


def process_of(pid: int) -> Process | None:
    """The process that has this number now; None where there is none."""
    words = _stat(pid)
    return Process(pid, int(words[_START])) if words else None


def descendants(root: int) -> frozenset[Process]:
    """Everything that a process started and that still hangs below it, whatever group or session it is in."""
    stats = _stats()
    return frozenset(Process(pid, int(stats[pid][_START])) for pid in _tree(root, stats) if pid != root)


def carriers(mark: bytes) -> frozenset[Process]:
    """Processes of ours that were started with those bytes in their environment."""
    found = set()
    for pid, words in _stats().items():
        with suppress(OSError):  # another user's, or it ended just now
            if mark in (_PROC / str(pid) / "environ").read_bytes():
                found.add(Process(pid, int(words[_START])))
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Effort:
    """What a process and its descendants have spent so far: CPU seconds, and bytes to and from disks."""

    cpu_s: float
    disk_bytes: int


def tree_effort(root: int) -> Effort:
    """CPU time and disk traffic so far of a process and its living descendants."""
    stats = _stats()
    pids = list(_tree(root, stats))
    ticks = sum(sum(map(int, stats[pid][_CPU])) for pid in pids)
    return Effort(ticks / os.sysconf("SC_CLK_TCK"), sum(map(_disk_bytes, pids)))


def tree_cpu_s(root: int) -> float:
    """CPU seconds so far of a process, its living descendants, and the ended children that each has waited for."""
    hertz = os.sysconf("SC_CLK_TCK")
    stats = _stats()
    return sum(sum(map(int, stats[pid][_CPU])) for pid in _tree(root, stats)) / hertz


def tree_peak_bytes(root: int) -> int:
    """Peak resident memory of a process and its living descendants, each at its own peak, added up.

    Pages that they share count once for each.
    """
    return sum(_peak_bytes(pid) for pid in _tree(root, _stats()))


def _stats() -> dict[int, list[str]]:
    """Each living process's fields behind its name, which may hold blanks and brackets."""
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    return {pid: words for pid in pids if (words := _stat(pid)) is not None}


def _stat(pid: int) -> list[str] | None:
    with suppress(OSError):  # it ended just now
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return None


def _disk_bytes(pid: int) -> int:
    with suppress(OSError):
        lines = (_PROC / str(pid) / "io").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(_DISK))
    return 0


def _tree(root: int, stats: dict[int, list[str]]) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for pid, words in stats.items():
        children.setdefault(int(words[_PARENT]), []).append(pid)
    waiting = [root] if root in stats else []
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])


def _peak_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
