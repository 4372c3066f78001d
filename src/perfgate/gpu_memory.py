"""GPU memory that is given back after a round, and whether a GPU works: read through NVML as all else (`gpu/`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from perfgate.gpu.nvml import NoNvmlError, Nvml, open_nvml
from perfgate.gpu.processes import processes_on
from perfgate.gpu.visible import Listed, all_gpus, visible_gpus
from perfgate.stopping import breakable

SLACK_BYTES = 512 * 2**20  # a driver's own use moves by so much without any process
PATIENCE_S = 30.0  # a killed process's memory comes back within a second or two; large contexts take longer
_POLL_S = 0.2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What is used of one GPU or MIG slice; 0 where the driver does not tell."""

    uuid: str
    used_bytes: int


def gpu_use() -> tuple[GpuUse, ...]:
    """Every GPU that our children see, in CUDA's order; empty where NVML or a GPU is missing."""
    return tuple(GpuUse(one.uuid, used) for one, used in _of_each(_used_bytes))


def is_any_gpu_busy() -> bool:
    """Whether a GPU that our children see had a kernel running during NVML's last sample; of a slice, its whole GPU."""
    return any(is_busy for _, is_busy in _of_each(_is_busy))


def await_returned(floor: Sequence[GpuUse], count: int, patience_s: float = PATIENCE_S) -> str | None:
    """Wait until no GPU has more in use than in `floor`, the reading before the first round.

    count: so many GPUs are looked at; others of the machine may belong to somebody else.
    Returns None once it is so, else what is held by whom.
    """
    before = {one.uuid: one.used_bytes for one in floor[:count]}
    deadline = time.monotonic() + patience_s
    while held := {one.uuid: more for one in gpu_use() if (more := _more(one, before)) > SLACK_BYTES}:
        if time.monotonic() >= deadline:
            return "; ".join(_told(held, patience_s))
        with breakable():
            time.sleep(_POLL_S)
    return None


def _more(now: GpuUse, before: dict[str, int]) -> int:
    """Bytes in use beyond what there was before; none on a GPU that is not looked at."""
    return now.used_bytes - before.get(now.uuid, now.used_bytes)


def _told(held: dict[str, int], patience_s: float) -> list[str]:
    return [
        f"GPU {one.told} has {held[one.uuid] / 2**30:.1f} GiB more in use than before the first round after "
        f"{patience_s:g} s, by {', '.join(map(str, who or ())) or 'no process that NVML names'}"
        for one, who in _of_each(lambda nvml, one: processes_on(nvml, one, None))
        if one.uuid in held
    ]


def _of_each(read: Callable[[Nvml, Listed], T]) -> list[tuple[Listed, T]]:
    """The GPUs that our children see, each with what is read of it; none where NVML or a driver is missing."""
    try:
        with open_nvml() as nvml:
            return [(one, read(nvml, one)) for one in visible_gpus(all_gpus(nvml), os.environ)]
    except NoNvmlError:
        return []


def _used_bytes(nvml: Nvml, one: Listed) -> int:
    memory = nvml.ask("nvmlDeviceGetMemoryInfo", one.handle)
    return 0 if memory is None else int(memory.used)


def _is_busy(nvml: Nvml, one: Listed) -> bool:
    rates = nvml.ask("nvmlDeviceGetUtilizationRates", one.parent)
    return rates is not None and rates.gpu > 0
