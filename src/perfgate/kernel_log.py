"""What the kernel told of lately: failed GPUs (Xid) and what its out-of-memory killer ended, where we may read it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from perfgate.diagnosis import OomKills

_RECORD_BYTES = 8192  # more than a record of /dev/kmsg ever has


def kernel_lines(since_s: float, source: Path = Path("/dev/kmsg")) -> list[str]:
    """Lines about GPUs since a moment of the monotonic clock; empty where the log is not ours to read."""
    records = list(_records(source))
    return [text for moment_s, text in map(_parsed, records) if moment_s >= since_s and "NVRM" in text]


def monotonic_s() -> float:
    """Now, on the clock of the kernel's log: seconds since boot without sleep."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _records(source: Path) -> Iterator[str]:
    """Each read of /dev/kmsg is one record; one that was overwritten meanwhile is passed over (EPIPE)."""
    with suppress(OSError):
        handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while data := _read(handle):
                yield data.decode("utf-8", "replace")
        finally:
            os.close(handle)


def _read(handle: int) -> bytes:
    while True:
        try:
            return os.read(handle, _RECORD_BYTES)
        except BrokenPipeError:
            continue


def _parsed(record: str) -> tuple[float, str]:
    """'4,1234,5678901,-;NVRM: ...': the third word is in microseconds."""
    head, _, text = record.partition(";")
    words = head.split(",")
    return (int(words[2]) / 1e6 if len(words) > 2 and words[2].isdigit() else 0.0), text.partition("\n")[0]  # noqa: PLR2004


# ------------------------------------------------------------------ out of memory


def oom_kills(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> OomKills:
    """How many processes the out-of-memory killer has ended so far; 0 where nothing tells."""
    return OomKills(_own(proc, cgroups), _count(proc / "vmstat", "oom_kill"))


def _own(proc: Path, cgroups: Path) -> int:
    """Of our cgroup and those below it: version 2's memory.events, else version 1's memory.oom_control."""
    try:
        rows = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
    except OSError:
        return 0
    return max((_count(path, "oom_kill") for path in _files(rows, cgroups)), default=0)


def _files(rows: Iterable[list[str]], cgroups: Path) -> Iterator[Path]:
    for _, kinds, place in rows:
        if kinds == "":
            yield cgroups / place.lstrip("/") / "memory.events"
        elif "memory" in kinds.split(","):
            yield cgroups / "memory" / place.lstrip("/") / "memory.oom_control"
            yield cgroups / "memory" / "memory.oom_control"  # a container sees its own cgroup as the root


def _count(path: Path, name: str) -> int:
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return 0
    return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] == name)  # noqa: PLR2004
