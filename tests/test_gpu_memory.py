"""Memory that is given back, late, or never, as a double of NVML tells it."""

from __future__ import annotations

import sys

import pytest

from gpu.nvml_machine import OTHER, OWN, Card, Process, Slice, pretend
from perfgate.gpu_memory import GpuUse, await_returned, gpu_use, is_any_gpu_busy

GIB = 2**30
SLICES = [
    Slice("MIG-aaaa1111-0000", "NVIDIA H200 MIG 1g.18gb", 18 * GIB, gi=7, used=2 * GIB),
    Slice("MIG-bbbb2222-0000", "NVIDIA H200 MIG 3g.71gb", 71 * GIB, gi=1, used=30 * GIB),
]


def test_memory_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(used=[[0.0, 60 * GIB], [0.3, GIB]]))

    assert await_returned([GpuUse(OWN, GIB)], 1, patience_s=30.0) is None


def test_memory_that_is_held_is_told_with_its_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    ghost, hidden = Process(4_194_305, memory=20 * GIB), Process(4_194_306, "python", memory=None)
    pretend(monkeypatch, Card(used=21 * GIB, processes=[ghost, hidden]))

    held = await_returned([GpuUse(OWN, GIB)], 1, patience_s=0.0)

    assert held == (
        "GPU 0 has 20.0 GiB more in use than before the first round after 0 s, by process 4194305 (name not told, "
        "20.0 GiB), process 4194306 (python)"
    )


def test_other_gpus_of_the_machine_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(used=GIB), Card(OTHER, used=70 * GIB))

    assert await_returned([GpuUse(OWN, GIB), GpuUse(OTHER, GIB)], 1, patience_s=0.0) is None
    assert await_returned([GpuUse(OWN, GIB), GpuUse(OTHER, GIB)], 2, patience_s=0.0) is not None


def test_the_first_gpu_is_the_first_that_cuda_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(used=70 * GIB), Card(OTHER, used=GIB))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    floor = [GpuUse(OTHER, GIB), GpuUse(OWN, GIB)]

    assert [one.uuid for one in gpu_use()] == [OTHER, OWN]
    assert await_returned(floor, 1, patience_s=0.0) is None


@pytest.mark.parametrize(("visible", "seen"), [("1", [OTHER]), (OTHER[:8], [OTHER]), ("0,1", [OWN, OTHER]), ("", [])])
def test_only_visible_gpus_are_read(monkeypatch: pytest.MonkeyPatch, visible: str, seen: list[str]) -> None:
    pretend(monkeypatch, Card(used=GIB), Card(OTHER, used=GIB))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert [one.uuid for one in gpu_use()] == seen


def test_a_slice_is_read_by_itself_and_told_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(used=33 * GIB, mig=1, slices=SLICES))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-bbbb2222-0000")

    assert gpu_use() == (GpuUse("MIG-bbbb2222-0000", 30 * GIB),)
    held = await_returned([GpuUse("MIG-bbbb2222-0000", GIB)], 1, patience_s=0.0)
    assert held is not None
    assert held.startswith("GPU 0 (MIG 1/0) has 29.0 GiB more in use")


def test_memory_that_the_driver_does_not_tell_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(lacks=["nvmlDeviceGetMemoryInfo"]))

    assert gpu_use() == (GpuUse(OWN, 0),)
    assert await_returned(gpu_use(), 1, patience_s=0.0) is None


@pytest.mark.parametrize(
    ("busy", "lacks", "expected"), [(0, (), False), (7, (), True), (7, ("nvmlDeviceGetUtilizationRates",), False)]
)
def test_busy_gpu_is_seen_where_the_driver_tells(
    monkeypatch: pytest.MonkeyPatch,
    busy: int,
    lacks: tuple[str, ...],
    expected: bool,  # noqa: FBT001
) -> None:
    pretend(monkeypatch, Card(busy=busy, lacks=lacks))

    assert is_any_gpu_busy() is expected


def test_machine_without_nvml_has_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert gpu_use() == ()
    assert not is_any_gpu_busy()
    assert await_returned((), 1) is None
