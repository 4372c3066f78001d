from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gpu.nvml_machine import OTHER, Card, Machine, Slice, pretend
from perfgate.device import Device, cpu_device, find_device, gpu_key

MIB = 2**20

AMX = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8480+\nflags\t\t: fpu avx2 avx512f amx_bf16 amx_tile\n"
AVX512 = (
    "processor\t: 0\nmodel name\t: AMD EPYC 9654 96-Core Processor\nflags\t\t: fpu sse2 avx avx2 avx512f avx512bw\n"
)
AVX2 = (
    "processor\t: 0\nmodel name\t: AMD EPYC 7742\nflags\t\t: fpu sse2 avx avx2\n\nprocessor\t: 1\nflags\t\t: avx512f\n"
)
OLD = "processor\t: 0\nmodel name\t: Intel(R) Core(TM)2\nflags\t\t: fpu sse2 avx2x xavx512f\n"


@pytest.mark.parametrize(
    ("name", "capability", "memory_mib", "key"),
    [
        ("NVIDIA H200", (9, 0), 143771, "sm_90/h200-141gb"),
        ("NVIDIA H200 NVL", (9, 0), 143771, "sm_90/h200-nvl-141gb"),
        ("NVIDIA A100-SXM4-80GB", (8, 0), 81920, "sm_80/a100-80gb"),
        ("NVIDIA A100-PCIE-40GB", (8, 0), 40960, "sm_80/a100-pcie-40gb"),
        ("NVIDIA H100 80GB HBM3", (9, 0), 81559, "sm_90/h100-80gb"),
        ("NVIDIA H100 PCIe", (9, 0), 81559, "sm_90/h100-pcie-80gb"),
        ("NVIDIA GeForce RTX 4090", (8, 9), 24564, "sm_89/rtx-4090-24gb"),
        ("Tesla V100-SXM2-16GB", (7, 0), 16384, "sm_70/v100-16gb"),
        ("NVIDIA L40S", (8, 9), 46068, "sm_89/l40s-45gb"),
        ("NVIDIA B200", (10, 0), 183359, "sm_100/b200-180gb"),
        ("NVIDIA GeForce RTX 5090", (12, 0), 32607, "sm_120/rtx-5090-32gb"),
    ],
)
def test_a_gpu_key_is_architecture_then_product(
    name: str, capability: tuple[int, int], memory_mib: int, key: str
) -> None:
    assert gpu_key(name, *capability, memory_mib * MIB) == key


def test_a_gpu_key_is_a_path_of_two_plain_parts() -> None:
    key = gpu_key("NVIDIA ../../H200 (odd)\\name", 9, 0, 143771 * MIB)

    assert key == "sm_90/h200-odd-name-141gb"


@pytest.mark.parametrize(
    ("cpuinfo", "key", "product"),
    [
        (AMX, "cpu/x86_64-amx", "Intel(R) Xeon(R) Platinum 8480+"),
        (AVX512, "cpu/x86_64-avx512", "AMD EPYC 9654 96-Core Processor"),
        (AVX2, "cpu/x86_64-avx2", "AMD EPYC 7742"),
        (OLD, "cpu/x86_64-generic", "Intel(R) Core(TM)2"),
    ],
)
def test_a_cpu_key_is_the_instruction_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str, key: str, product: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)

    found = cpu_device(path)

    assert found == Device(key, product)
    assert not found.is_gpu


def test_a_cpu_without_flags_is_generic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("platform.processor", lambda: "")
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve\n")

    assert cpu_device(path) == Device("cpu/aarch64-generic", "aarch64")


def test_a_machine_without_cpuinfo_is_generic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr("platform.processor", lambda: "arm")

    assert cpu_device(tmp_path / "absent") == Device("cpu/arm64-generic", "arm")


def test_cpuinfo_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_bytes(b"model name\t: Proc\xe9\nflags\t\t: avx2\n")

    assert cpu_device(path).key.endswith("-avx2")


def test_the_first_visible_gpu_is_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card(name="NVIDIA T4", memory=16 * 2**30, capability=(7, 5)), Card(OTHER), Card("GPU-c"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{OTHER},2")

    found = find_device()

    assert (found.key, found.product, found.driver) == ("sm_90/h200-141gb", "NVIDIA H200", "575.57.08.double")
    assert found.cuda == "12.9"
    assert [gpu.uuid for gpu in found.gpus] == [OTHER, "GPU-c"]
    assert found.is_gpu


def test_a_mig_slice_is_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "NVIDIA H100 80GB HBM3"
    small, large = (
        Slice("MIG-1", f"{whole} MIG 1g.10gb", 9856 * MIB, 1),
        Slice("MIG-2", f"{whole} MIG 3g.40gb", 40448 * MIB, 2),
    )
    pretend(monkeypatch, Card(name=whole, mig=1, slices=[small, large]))
    keys = []
    for name in ("MIG-1", "MIG-2"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        keys.append(find_device().key)

    assert keys == ["sm_90/h100-mig-1g-10gb", "sm_90/h100-mig-3g-40gb"]


def test_where_no_gpu_is_visible_the_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Card())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert not find_device().is_gpu


@pytest.mark.parametrize("failing", ["Name", "CudaComputeCapability", "MemoryInfo"])
def test_a_gpu_of_which_not_even_the_kind_is_told_is_no_device(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    machine = pretend(monkeypatch, Card(lacks=[f"nvmlDeviceGet{failing}"]))

    assert not find_device().is_gpu
    assert not machine.is_open


def test_without_a_driver_or_pynvml_the_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, machine=Machine(init_error=12))
    assert find_device().key.startswith("cpu/")

    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_device().key.startswith("cpu/")
