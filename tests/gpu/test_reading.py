"""Facts and state of GPUs, and what becomes of queries that fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu.nvml_machine import OTHER, OWN, Card, Machine, Process, Slice, double, pretend
from perfgate.gpu.facts import settings
from perfgate.gpu.nvml import open_nvml
from perfgate.gpu.processes import is_descendant
from perfgate.gpu.reading import read_gpus, read_now
from perfgate.gpu.visible import all_gpus

QUERIES = [
    name
    for name in vars(double)
    if name.startswith("nvmlDeviceGet") and name not in {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"}
]


def test_the_facts_of_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, Card(limit=500_000, affinity=[0b101]))
    (tmp_path / "0000:19:00.0").mkdir()
    (tmp_path / "0000:19:00.0" / "numa_node").write_text("1\n")

    found = read_gpus({}, tmp_path)

    (gpu,) = found.seen
    assert (found.driver, found.cuda) == ("575.57.08.double", "12.9")
    assert (gpu.name, gpu.capability, gpu.bus, gpu.numa_node, gpu.cpus) == (
        "NVIDIA H200",
        (9, 0),
        "00000000:19:00.0",
        1,
        (0, 2),
    )
    assert (gpu.power_limit_w, gpu.power_default_w, gpu.sm_max_mhz, gpu.mem_max_mhz) == (500.0, 700.0, 1980, 3201)
    assert (gpu.ecc, gpu.persistence, gpu.mig, gpu.nvlinks, gpu.compute_mode) == (True, True, False, 18, "default")
    assert not gpu.absent


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_that_fails_is_an_absence_with_its_reason(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    pretend(monkeypatch, Card(lacks=[query], processes=[Process(os.getpid(), "ours", busy=5)]))

    found = read_gpus({})
    with open_nvml() as nvml:
        state = [read_now(nvml, one, os.getpid()) for one in all_gpus(nvml)]

    told = [gpu.absent for gpu in found.seen] + [now.absent for now in state]
    needed = {"nvmlDeviceGetName", "nvmlDeviceGetCudaComputeCapability"}  # without them there is no key
    of_slices = ("Mig", "Instance", "Throttle")
    assert len(found.seen) == (0 if query in needed or "MemoryInfo" in query else 1)
    if query not in needed and not any(word in query for word in of_slices):
        assert any(absent.get(query) == "Not Supported" for absent in told) or query == "nvmlDeviceGetUUID"


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, machine=Machine(init_error=9))

    assert read_gpus({}).fault == "NVML: Driver Not Loaded"


def test_drivers_of_the_older_generation_tell_reasons_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, machine=Machine([Card(reasons=0x4)], missing=["nvmlDeviceGetCurrentClocksEventReasons"]))

    with open_nvml() as nvml:
        assert read_now(nvml, all_gpus(nvml)[0]).reasons == ("power cap",)


def test_a_reason_without_a_name_is_told_by_its_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(reasons=0x1001))

    with open_nvml() as nvml:
        assert read_now(nvml, all_gpus(nvml)[0]).reasons == ("idle", "reason 0x1000")


def test_processes_of_others_are_told_from_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = 2**22 + 1  # above the kernel's largest process number
    processes = [
        Process(os.getpid(), "ours", busy=50),
        Process(1, None, busy=3),
        Process(absent, None, memory=None, busy=0),
    ]
    pretend(monkeypatch, Card(processes=processes))

    with open_nvml() as nvml:
        found = read_now(nvml, all_gpus(nvml)[0], os.getpid()).processes

    assert found is not None
    assert [(one.is_own, one.busy) for one in found] == [(True, 0.5), (False, 0.03), (None, 0.0)]
    assert str(found[2]) == f"process {absent} (name not told)"


def test_a_child_is_our_own() -> None:
    assert is_descendant(os.getpid(), os.getppid())
    assert is_descendant(os.getppid(), os.getpid()) is False
    assert is_descendant(os.getpid(), 1)  # the first process of a container may be perfgate itself
    assert is_descendant(1, os.getpid()) is False
    assert is_descendant(0, os.getpid()) is None


def test_a_slice_is_a_product_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(mig=1, slices=[Slice("MIG-1", "NVIDIA H200 MIG 1g.18gb", 18 * 2**30, 1)]))

    (gpu,) = read_gpus({}).seen

    assert (gpu.name, gpu.place, gpu.memory_bytes, gpu.mig) == ("NVIDIA H200 MIG 1g.18gb", "1/0", 18 * 2**30, True)


def test_gpus_of_several_products_need_the_order_of_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(), Card(OTHER, name="NVIDIA T4"))

    assert not read_gpus({}).is_order_sure
    assert read_gpus({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}).is_order_sure
    assert read_gpus({"CUDA_VISIBLE_DEVICES": OTHER}).hidden == 1


def test_settings_of_gpus_that_agree_share_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(OWN), Card(OTHER), Card("GPU-c", limit=500_000, ecc=None))

    found = settings(read_gpus({}).seen)

    assert found["GPU power limit"] == "2 x 700 W; 1 x 500 W"
    assert found["GPU ECC"] == "2 x on; 1 x not told"
    assert found["GPU persistence mode"] == "3 x on"
