"""Which device this is: the key under which baselines are kept."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from perfgate.gpu.facts import Gpu, Gpus
from perfgate.gpu.reading import read_gpus

_LONGEST_PRODUCT = 60  # characters of a product's name in a key, which is a folder's name


@dataclass(frozen=True, slots=True)
class Device:
    """A device key (architecture, then product class) and the product's own name.

    gpus: all that engines started here see, in CUDA's order; the key is the first one's. An engine of tp x pp
    takes that many of them, from the first on.
    """

    key: str  # "sm_90/h200-141gb", "cpu/x86_64-avx512"
    product: str  # "NVIDIA H200", "AMD EPYC ..."
    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    cuda: str = ""  # the newest CUDA that the driver runs

    @property
    def is_gpu(self) -> bool:
        return self.key.startswith("sm_")


def find_device() -> Device:
    """The first GPU that engines started here see (CUDA_VISIBLE_DEVICES), else the CPU."""
    return gpu_device(read_gpus()) or cpu_device(Path("/proc/cpuinfo"))


def gpu_device(found: Gpus) -> Device | None:
    """The first GPU as a device; a MIG slice is a product of its own."""
    if not found.seen:
        return None
    first = found.seen[0]
    key = gpu_key(first.name, *first.capability, first.memory_bytes)
    return Device(key, first.name, found.driver, found.seen, found.cuda)


def gpu_key(name: str, major: int, minor: int, memory_bytes: int) -> str:
    """'sm_90/h200-141gb' of 'NVIDIA H200', 9, 0 and the bytes that NVML reports.

    The size is NVML's in GiB, rounded up to what the vendor prints on the box. The form factor
    is dropped where it is SXM, the common one; PCIe and NVL parts are other products.
    """
    words = re.sub(r"nvidia|geforce|tesla|\bsxm\d?\b|\bhbm\d?e?\b|\d+\s*gb|[^a-z0-9]+", " ", name.lower()).split()
    product = "-".join(words)[:_LONGEST_PRODUCT] or "unknown"
    return f"sm_{major}{minor}/{product}-{-(-memory_bytes // 2**30)}gb"


def cpu_device(cpuinfo: Path) -> Device:
    """The CPU by instruction set: what decides which kernels an engine takes."""
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    flags = set(_field(text, "flags").split())
    level = next((name for name in ("amx_tile", "avx512f", "avx2") if name in flags), "generic")
    short = {"amx_tile": "amx", "avx512f": "avx512"}.get(level, level)
    product = _field(text, "model name") or platform.processor() or platform.machine()
    return Device(f"cpu/{platform.machine()}-{short}", product)


def _field(cpuinfo: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""
