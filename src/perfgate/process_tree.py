"""CPU time and memory of a process and everything that it started (`proc_pid_stat(5)`, `proc_pid_status(5)`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _CPU = 1, slice(11, 15)  # fields behind the name: ppid; utime, stime, cutime, cstime


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
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended just now
                found[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    return found


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
