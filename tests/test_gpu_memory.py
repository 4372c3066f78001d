"""Memory that is given back, late, or never, as a fake NVML tells it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from perfgate.gpu_memory import GpuUse, await_returned, gpu_use, is_any_gpu_busy

GIB = 2**30


class NVMLError(Exception):
    """What pynvml raises."""


def nvml(*used: Callable[[], int], holders: tuple[Any, ...] = (), busy: int = 0) -> Any:
    """A pynvml of as many GPUs; each call of `used` is a reading."""

    def hidden(_: int) -> int:
        raise NVMLError

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(used),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda index: f"GPU-{index}{index}{index}",
        nvmlDeviceGetMemoryInfo=lambda index: SimpleNamespace(used=used[index]()),
        nvmlDeviceGetComputeRunningProcesses=lambda _: list(holders),
        nvmlDeviceGetUtilizationRates=(lambda _: SimpleNamespace(gpu=busy)) if busy >= 0 else hidden,
    )


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def falling(*readings: int) -> Callable[[], int]:
    left = list(readings)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_memory_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(falling(60 * GIB, 60 * GIB, GIB)))

    assert await_returned([GpuUse(0, GIB)], 1, patience_s=30.0) is None


def test_memory_that_is_held_is_told_with_its_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    ghost = SimpleNamespace(pid=4_194_305, usedGpuMemory=20 * GIB)
    hidden = SimpleNamespace(pid=1, usedGpuMemory=None)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(falling(21 * GIB), holders=(ghost, hidden)))

    held = await_returned([GpuUse(0, GIB)], 1, patience_s=0.0)

    assert held is not None
    assert held.startswith("GPU 0 has 20.0 GiB more in use than before the first round after 0 s, by ")
    assert "4194305 (of another container or user) 20.0 GiB" in held


def test_other_gpus_of_the_machine_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(falling(GIB), falling(70 * GIB)))

    assert await_returned([GpuUse(0, GIB), GpuUse(1, GIB)], 1, patience_s=0.0) is None
    assert await_returned([GpuUse(0, GIB), GpuUse(1, GIB)], 2, patience_s=0.0) is not None


@pytest.mark.parametrize(("visible", "seen"), [("1", [1]), ("GPU-11", [1]), ("0,1", [0, 1]), ("", [])])
def test_only_visible_gpus_are_read(monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[int]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(falling(GIB), falling(GIB)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert [one.index for one in gpu_use()] == seen


@pytest.mark.parametrize(("busy", "expected"), [(0, "idle"), (7, "busy"), (-1, "idle")])
def test_busy_gpu_is_seen_where_the_driver_tells(monkeypatch: pytest.MonkeyPatch, busy: int, expected: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(falling(GIB), busy=busy))

    assert ("busy" if is_any_gpu_busy() else "idle") == expected


def test_machine_without_nvml_has_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert gpu_use() == ()
    assert not is_any_gpu_busy()
    assert await_returned((), 1) is None
