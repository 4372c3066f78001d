"""Who uses a GPU: the processes that NVML lists, and which of them are our own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from perfgate.gpu.facts import GpuProcess
from perfgate.gpu.nvml import NOT_FOUND, Nvml
from perfgate.gpu.visible import Listed

_PROC = Path("/proc")
_PARENT = 1  # field behind the name: the parent's process id (`proc_pid_stat(5)`)
_MOST_LEVELS = 64
_LATELY_S = 2.0


def processes_on(nvml: Nvml, one: Listed, root: int | None) -> tuple[GpuProcess, ...] | None:
    """Processes with a compute context; those that draw (a desktop) are not listed. None where NVML does not tell.

    root: our own are this process and its descendants.
    """
    running = nvml.ask("nvmlDeviceGetComputeRunningProcesses", one.handle)
    if running is None:
        return None
    busy = _busy(nvml, one.parent)
    return tuple(_process(nvml, entry, busy, root) for entry in running)


def _busy(nvml: Nvml, gpu: Any) -> dict[int, float] | None:
    """The latest share of the SMs of each process; None where not told. Older samples would be of work long ended."""
    since_us = int((time.time() - _LATELY_S) * 1e6)
    found = nvml.ask("nvmlDeviceGetProcessUtilization", gpu, since_us)
    if found is None:
        return {} if nvml.absent["nvmlDeviceGetProcessUtilization"] == NOT_FOUND else None  # nobody was busy
    return {entry.pid: entry.smUtil / 100 for entry in sorted(found, key=lambda entry: entry.timeStamp)}


def _process(nvml: Nvml, entry: Any, busy: dict[int, float] | None, root: int | None) -> GpuProcess:
    name = nvml.ask("nvmlSystemGetProcessName", entry.pid)
    return GpuProcess(
        pid=int(entry.pid),
        name=str(name).partition("\0")[0] or None if name is not None else _own_name(entry.pid),
        memory_bytes=entry.usedGpuMemory,
        is_own=None if root is None else is_descendant(entry.pid, root),
        busy=None if busy is None else busy.get(entry.pid, 0.0),
    )


def _own_name(pid: int) -> str | None:
    try:
        return (_PROC / str(pid) / "comm").read_text(errors="replace").strip() or None
    except OSError:
        return None


def is_descendant(pid: int, root: int) -> bool | None:
    """Whether a process is `root` or was started by it or its children; None where we do not see the process.

    Another container's processes have numbers that mean nothing here, or 0. A container's own first process has
    the parent 0, and so has one that was brought in from outside.
    """
    if pid == 0:
        return None
    for _ in range(_MOST_LEVELS):
        if pid == root:
            return True
        parent = _parent(pid)
        if parent is None:
            return None
        if parent == 0:
            return False
        pid = parent
    return False


def _parent(pid: int) -> int | None:
    try:
        return int((_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[_PARENT])
    except (OSError, ValueError, IndexError):
        return None
