"""GPU memory as NVML tells it: what is used, by whom, and that it is given back after a round."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLACK_BYTES = 512 * 2**20  # a driver's own use moves by so much without any process
PATIENCE_S = 30.0  # a killed process's memory comes back within a second or two; large contexts take longer
_POLL_S = 0.2
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has memory on a GPU; used_bytes: None where the driver does not tell."""

    pid: int
    name: str
    used_bytes: int | None

    def __str__(self) -> str:
        size = f" {self.used_bytes / 2**30:.1f} GiB" if self.used_bytes is not None else ""
        return f"{self.pid} ({self.name}){size}"


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What is used of one GPU."""

    index: int
    used_bytes: int
    holders: tuple[Holder, ...] = ()


def gpu_use() -> tuple[GpuUse, ...]:
    """Every GPU that our children see, in NVML's order; empty where NVML or a GPU is missing."""
    with _nvml() as nvml:
        return tuple(_use(nvml, index, handle) for index, handle in _visible(nvml)) if nvml else ()


def is_any_gpu_busy() -> bool:
    """Whether a GPU that our children see had a kernel running during NVML's last sample."""
    with _nvml() as nvml:
        return bool(nvml) and any(_is_busy(nvml, handle) for _, handle in _visible(nvml))


def await_returned(floor: Sequence[GpuUse], count: int, patience_s: float = PATIENCE_S) -> str | None:
    """Wait until no GPU has more in use than in `floor`, the reading before the first round.

    count: so many GPUs are looked at; others of the machine may belong to somebody else.
    Returns None once it is so, else what is held by whom.
    """
    before = {one.index: one.used_bytes for one in floor[:count]}
    deadline = time.monotonic() + patience_s
    while held := [one for one in gpu_use() if one.used_bytes > before.get(one.index, one.used_bytes) + SLACK_BYTES]:
        if time.monotonic() >= deadline:
            return "; ".join(_told(one, before[one.index], patience_s) for one in held)
        time.sleep(_POLL_S)
    return None


def _told(now: GpuUse, before_bytes: int, patience_s: float) -> str:
    more = (now.used_bytes - before_bytes) / 2**30
    who = ", ".join(map(str, now.holders)) or "no process that NVML names"
    return (
        f"GPU {now.index} has {more:.1f} GiB more in use than before the first round after {patience_s:g} s, by {who}"
    )


# ------------------------------------------------------------------ NVML


@contextmanager
def _nvml() -> Iterator[Any]:
    """The library while it is open; None where it or a driver is missing."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _visible(nvml: Any) -> Iterator[tuple[int, Any]]:
    """(index, handle) of the GPUs that CUDA_VISIBLE_DEVICES names, or of all."""
    words = _words(os.environ)
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if words is None or str(index) in words or any(_uuid(nvml, handle).startswith(one) for one in words):
            yield index, handle


def _words(variables: Mapping[str, str]) -> list[str] | None:
    given = variables.get(VISIBLE)
    return None if given is None else [word.strip() for word in given.split(",") if word.strip()]


def _uuid(nvml: Any, handle: Any) -> str:
    try:
        return str(nvml.nvmlDeviceGetUUID(handle))
    except nvml.NVMLError:
        return ""


def _use(nvml: Any, index: int, handle: Any) -> GpuUse:
    try:
        used = int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
    except nvml.NVMLError:  # a GPU cut into MIG instances may hide it
        return GpuUse(index, 0)
    return GpuUse(index, used, _holders(nvml, handle))


def _holders(nvml: Any, handle: Any) -> tuple[Holder, ...]:
    try:
        running = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:
        return ()
    return tuple(Holder(one.pid, _name(one.pid), one.usedGpuMemory) for one in running)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "of another container or user"


def _is_busy(nvml: Any, handle: Any) -> bool:
    try:
        return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) > 0
    except nvml.NVMLError:
        return False
