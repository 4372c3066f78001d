"""GPUs read through NVML: their facts, and their state at one moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from perfgate.gpu.facts import Gpu, GpuNow, Gpus
from perfgate.gpu.nvml import NoNvmlError, Nvml, open_nvml
from perfgate.gpu.processes import processes_on
from perfgate.gpu.visible import Listed, all_gpus, is_mig, visible_gpus
from perfgate.pinning import node_cpus

PCI = Path("/sys/bus/pci/devices")
_SM, _MEMORY = "NVML_CLOCK_SM", "NVML_CLOCK_MEM"
_COMPUTE_MODES = {0: "default", 2: "prohibited", 3: "exclusive process"}
_WORD_BITS = 64
REASONS = {
    "GpuIdle": "idle",
    "ApplicationsClocksSetting": "application clocks",
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SyncBoost": "sync boost",
    "SwThermalSlowdown": "thermal slowdown (driver)",
    "HwThermalSlowdown": "thermal slowdown (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
    "DisplayClockSetting": "display clocks",
}
_REASON_QUERIES = (  # the second is the name of drivers before 535
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
)


def read_gpus(environment: Mapping[str, str] = os.environ, pci: Path = PCI) -> Gpus:
    """The GPUs that CUDA programs with these variables see; none, with the reason, where NVML does not work."""
    try:
        with open_nvml() as nvml:
            there = all_gpus(nvml)
            chosen = visible_gpus(there, environment)
            seen = tuple(gpu for one in chosen if (gpu := read_gpu(nvml, one, pci)) is not None)
            names = {nvml.ask("nvmlDeviceGetName", one.parent) for one in there}
            return Gpus(
                driver=str(nvml.ask("nvmlSystemGetDriverVersion") or ""),
                cuda=_cuda(nvml.ask("nvmlSystemGetCudaDriverVersion_v2")),
                nvml=str(nvml.ask("nvmlSystemGetNVMLVersion") or ""),
                seen=seen,
                hidden=len(there) - len(seen),
                is_order_sure=len(names) <= 1 or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID",
            )
    except NoNvmlError as exc:
        return Gpus(fault=str(exc))


def _cuda(number: int | None) -> str:
    """'12.8' of NVML's 12080."""
    return "" if number is None else f"{number // 1000}.{number % 1000 // 10}"


def read_gpu(nvml: Nvml, one: Listed, pci: Path = PCI) -> Gpu | None:
    """The facts of a GPU; None where not even its kind is told, without which it has no key."""
    nvml.absent.clear()
    name, memory = nvml.ask("nvmlDeviceGetName", one.handle), nvml.ask("nvmlDeviceGetMemoryInfo", one.handle)
    capability = nvml.ask("nvmlDeviceGetCudaComputeCapability", one.parent)
    if name is None or memory is None or capability is None:
        return None
    bare = Gpu(one.index, one.uuid, str(name), (int(capability[0]), int(capability[1])), int(memory.total), one.place)
    placed = replace(bare, **_place(nvml, one.parent, pci), **_clocks(nvml, one.parent))
    return replace(placed, **_modes(nvml, one.parent), **_links(nvml, one.parent), absent=dict(nvml.absent))


def _place(nvml: Nvml, gpu: Any, pci: Path) -> dict[str, Any]:
    """Where it is in the machine. NVML's own NUMA node id is that of the GPU's memory, and of no use here."""
    info = nvml.ask("nvmlDeviceGetPciInfo", gpu)
    bus = None if info is None else _text(info.busId)
    words = -(-(os.cpu_count() or 1) // _WORD_BITS)
    masks = nvml.ask("nvmlDeviceGetCpuAffinity", gpu, words)
    node = _node(bus, pci)
    return {"bus": bus, "numa_node": node, "cpus": node_cpus(node) if masks is None else tuple(_bits(masks))}


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _bits(masks: Iterable[int]) -> Iterable[int]:
    for at, mask in enumerate(masks):
        yield from (at * _WORD_BITS + bit for bit in range(_WORD_BITS) if mask >> bit & 1)


def _node(bus: str | None, pci: Path) -> int | None:
    """The NUMA node of a PCI device by the kernel, which names buses with a domain of four digits; -1 means none."""
    if bus is None:
        return None
    try:
        node = int((pci / bus.lower()[-len("0000:00:00.0") :] / "numa_node").read_text())
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def _clocks(nvml: Nvml, gpu: Any) -> dict[str, Any]:
    sm, memory = nvml.constant(_SM), nvml.constant(_MEMORY)
    return {
        "power_limit_w": _watts(nvml.ask("nvmlDeviceGetEnforcedPowerLimit", gpu)),
        "power_default_w": _watts(nvml.ask("nvmlDeviceGetPowerManagementDefaultLimit", gpu)),
        "sm_max_mhz": nvml.ask("nvmlDeviceGetMaxClockInfo", gpu, sm),
        "mem_max_mhz": nvml.ask("nvmlDeviceGetMaxClockInfo", gpu, memory),
        "app_sm_mhz": nvml.ask("nvmlDeviceGetApplicationsClock", gpu, sm),
        "app_mem_mhz": nvml.ask("nvmlDeviceGetApplicationsClock", gpu, memory),
    }


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def _modes(nvml: Nvml, gpu: Any) -> dict[str, Any]:
    now, pending = nvml.ask("nvmlDeviceGetEccMode", gpu) or (None, None)
    mode = nvml.ask("nvmlDeviceGetComputeMode", gpu)
    return {
        "ecc": _flag(now),
        "ecc_pending": _flag(pending),
        "persistence": _flag(nvml.ask("nvmlDeviceGetPersistenceMode", gpu)),
        "mig": is_mig(nvml, gpu),
        "compute_mode": None if mode is None else _COMPUTE_MODES.get(mode, f"mode {mode}"),
    }


def _flag(state: int | None) -> bool | None:
    return None if state is None else bool(state)


def _links(nvml: Nvml, gpu: Any) -> dict[str, Any]:
    return {
        "pcie_gen_max": nvml.ask("nvmlDeviceGetMaxPcieLinkGeneration", gpu),
        "pcie_width": nvml.ask("nvmlDeviceGetCurrPcieLinkWidth", gpu),
        "pcie_width_max": nvml.ask("nvmlDeviceGetMaxPcieLinkWidth", gpu),
        "nvlinks": _nvlinks(nvml, gpu),
    }


def _nvlinks(nvml: Nvml, gpu: Any) -> int | None:
    """Active links; None where the GPU has none at all. A link that is not there is not supported, or no argument."""
    states = [nvml.ask("nvmlDeviceGetNvLinkState", gpu, link) for link in range(nvml.constant("NVML_NVLINK_MAX_LINKS"))]
    known = [state for state in states if state is not None]
    if known:
        nvml.absent.pop("nvmlDeviceGetNvLinkState", None)
    return sum(map(bool, known)) if known else None


def read_now(nvml: Nvml, one: Listed, root: int | None = None) -> GpuNow:
    """The state of a GPU. root: the process whose descendants are our own; None: nobody is told apart."""
    nvml.absent.clear()
    gpu, ask = one.parent, nvml.ask
    memory, busy = ask("nvmlDeviceGetMemoryInfo", one.handle), ask("nvmlDeviceGetUtilizationRates", gpu)
    found = GpuNow(
        uuid=one.uuid,
        sm_mhz=ask("nvmlDeviceGetClockInfo", gpu, nvml.constant(_SM)),
        mem_mhz=ask("nvmlDeviceGetClockInfo", gpu, nvml.constant(_MEMORY)),
        temperature_c=ask("nvmlDeviceGetTemperature", gpu, nvml.constant("NVML_TEMPERATURE_GPU")),
        power_w=_watts(ask("nvmlDeviceGetPowerUsage", gpu)),
        energy_j=_watts(ask("nvmlDeviceGetTotalEnergyConsumption", gpu)),
        utilization=None if busy is None else busy.gpu / 100,
        memory_used_bytes=None if memory is None else int(memory.used),
        reasons=reasons_of(nvml, gpu, ask),
        pcie_gen=ask("nvmlDeviceGetCurrPcieLinkGeneration", gpu),
        processes=processes_on(nvml, one, root),
    )
    return replace(found, absent=dict(nvml.absent))


def reasons_of(nvml: Nvml, gpu: Any, ask: Callable[..., Any]) -> tuple[str, ...] | None:
    """Why the clocks are not higher, in our words; None where neither generation of drivers tells."""
    mask = next((found for query in _REASON_QUERIES if (found := ask(query, gpu)) is not None), None)
    return None if mask is None else reason_names(nvml, mask)


def reason_names(nvml: Nvml, mask: int) -> tuple[str, ...]:
    """The reasons of a bit mask; a bit that we have no word for is told by its number."""
    named = {nvml.constant(f"nvmlClocksThrottleReason{name}"): words for name, words in REASONS.items()}
    bits = (1 << at for at in range(mask.bit_length()) if mask >> at & 1)
    return tuple(named.get(bit, f"reason {bit:#x}") for bit in bits)
