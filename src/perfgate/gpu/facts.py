"""What a GPU is and how it is set: the part that stays over a run, kept with it, and the state at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU or a MIG slice; None is what NVML did not tell, and `absent` has NVML's words for why.

    power_limit_w: as enforced now; power_default_w: the vendor's. app_*: application clocks.
    """

    index: int
    uuid: str
    name: str
    capability: tuple[int, int]
    memory_bytes: int
    place: str = ""  # of a MIG slice: GPU instance/compute instance
    bus: str | None = None  # PCI, "00000000:19:00.0"
    numa_node: int | None = None
    cpus: tuple[int, ...] = ()  # the cores nearest to it
    power_limit_w: float | None = None
    power_default_w: float | None = None
    sm_max_mhz: int | None = None
    mem_max_mhz: int | None = None
    app_sm_mhz: int | None = None
    app_mem_mhz: int | None = None
    ecc: bool | None = None
    ecc_pending: bool | None = None
    persistence: bool | None = None
    mig: bool | None = None
    pcie_gen_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    nvlinks: int | None = None  # active ones
    compute_mode: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_slice(self) -> bool:
        return bool(self.place)


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that has a context on a GPU.

    name: None where another container's. is_own: whether perfgate started it; None where that cannot be told.
    busy: its share of the SMs lately; None where NVML does not tell.
    """

    pid: int
    name: str | None
    memory_bytes: int | None
    is_own: bool | None = None
    busy: float | None = None

    def __str__(self) -> str:
        size = "" if self.memory_bytes is None else f", {self.memory_bytes / 2**30:.1f} GiB"
        return f"process {self.pid} ({self.name or 'name not told'}{size})"


@dataclass(frozen=True, slots=True)
class GpuNow:
    """The state of a GPU at one moment. reasons: why its clocks are lower than they could be, in NVML's names."""

    uuid: str
    sm_mhz: int | None
    mem_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    energy_j: float | None
    utilization: float | None  # share of the last second or less in which a kernel ran
    memory_used_bytes: int | None
    reasons: tuple[str, ...] | None
    pcie_gen: int | None  # falls while idle
    processes: tuple[GpuProcess, ...] | None
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs that CUDA programs started here see, in their order.

    fault: why there are none, where NVML itself is the reason.
    """

    driver: str = ""
    cuda: str = ""  # the newest CUDA that the driver runs
    nvml: str = ""
    seen: tuple[Gpu, ...] = ()
    hidden: int = 0  # GPUs or slices that NVML lists and CUDA_VISIBLE_DEVICES leaves out
    fault: str | None = None
    is_order_sure: bool = True  # False: CUDA may number GPUs of different products otherwise than NVML


def settings(gpus: Sequence[Gpu]) -> dict[str, str]:
    """How GPUs are set, by property, in words that two runs can be compared by; GPUs that agree share a word."""
    rows = [_settings(gpu) for gpu in gpus]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _joined([row.get(name, "not told") for row in rows]) for name in names}


def _settings(gpu: Gpu) -> dict[str, str]:
    told: dict[str, str | None] = {
        "GPU": f"{gpu.name}, {gpu.memory_bytes / 2**30:.1f} GiB",
        "GPU power limit": _of(gpu.power_limit_w, "{:.0f} W"),
        "GPU clocks, most": _pair(gpu.sm_max_mhz, gpu.mem_max_mhz, "SM {} MHz, memory {} MHz"),
        "GPU application clocks": _pair(gpu.app_sm_mhz, gpu.app_mem_mhz, "SM {} MHz, memory {} MHz"),
        "GPU ECC": _switch(gpu.ecc),
        "GPU persistence mode": _switch(gpu.persistence),
        "GPU MIG": _switch(gpu.mig),
        "GPU PCIe": _pair(gpu.pcie_gen_max, gpu.pcie_width, "up to generation {}, {} lanes"),
        "GPU NVLink": _of(gpu.nvlinks, "{} links active"),
        "GPU compute mode": gpu.compute_mode,
    }
    return {name: text for name, text in told.items() if text is not None}


def _of(value: float | None, text: str) -> str | None:
    return None if value is None else text.format(value)


def _pair(one: int | None, other: int | None, text: str) -> str | None:
    return None if one is None or other is None else text.format(one, other)


def _switch(value: bool | None) -> str | None:  # noqa: FBT001 - the switch itself
    return None if value is None else "on" if value else "off"


def _joined(words: Sequence[str]) -> str:
    """'700 W' of three equal words as '3 x 700 W'."""
    counts = {word: words.count(word) for word in words}
    return "; ".join(word if count == 1 and len(counts) == 1 else f"{count} x {word}" for word, count in counts.items())
