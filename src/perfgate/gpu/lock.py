"""Locked SM clocks: asked for, put back, and called locked only where the GPU was seen to run at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from perfgate.gpu.nvml import Nvml
from perfgate.gpu.visible import Listed

STEP_MHZ = 15  # GPUs run at multiples of this: the nearest to what was asked for counts as it

_SET, _RESET = "nvmlDeviceSetGpuLockedClocks", "nvmlDeviceResetGpuLockedClocks"


@contextmanager
def locked_clocks(nvml: Nvml, gpus: Sequence[Listed], mhz: int) -> Iterator[str | None]:
    """Ask every GPU for one SM clock, and put back what was set on leaving; yields why that failed, or None.

    NVML has no query for what is set: whether a GPU keeps to it is seen in its samples (`lock_told`).
    """
    done: list[Listed] = []
    fault = None
    try:
        for one in gpus:
            nvml.absent.pop(_SET, None)
            nvml.ask(_SET, one.parent, mhz, mhz)
            fault = nvml.absent.get(_SET)
            if fault is not None:
                break
            done.append(one)
        if fault is not None:
            _reset(nvml, done)
            done = []
        yield fault
    finally:
        _reset(nvml, done)


def _reset(nvml: Nvml, gpus: Sequence[Listed]) -> None:
    for one in gpus:
        nvml.ask(_RESET, one.parent)


def lock_told(asked_mhz: int, fault: str | None, seen_mhz: Sequence[float | None]) -> str:
    """What became of a wish for locked clocks. seen_mhz: the median SM clock of each GPU while it worked."""
    if fault is not None:
        return f"not locked: {fault}"
    if not seen_mhz or any(clock is None for clock in seen_mhz):
        return f"not locked: set to {asked_mhz} MHz, but no SM clock was read back while the GPU worked"
    off = [clock for clock in seen_mhz if clock is not None and abs(clock - asked_mhz) > STEP_MHZ]
    if off:
        return f"not locked: set to {asked_mhz} MHz, but the GPU ran at {off[0]:.0f} MHz"
    return f"locked at {asked_mhz} MHz"
