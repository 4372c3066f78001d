"""What `perfgate doctor` looks at: this machine's GPUs, CPU, limits, clocks and packages, as they are now."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from perfgate.gpu.facts import GpuNow, Gpus
from perfgate.gpu.nvml import NoNvmlError, open_nvml
from perfgate.gpu.reading import read_gpus, read_now
from perfgate.gpu.visible import all_gpus
from perfgate.pinning import allowed_cpus, parse_cpus
from perfgate.telemetry import host_between, read_counters

CPU = Path("/sys/devices/system/cpu")
CGROUP = Path("/sys/fs/cgroup")
CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
NVIDIA = Path("/dev/nvidiactl")
LOOK_S = 0.5  # how long the load of the machine is watched
_SLEEPS, _SLEEP_S = 50, 0.001
_CALLS = 20_000
BACKENDS: Mapping[str, tuple[str, ...]] = {
    "openvino": ("openvino", "openvino_genai", "openvino_tokenizers", "nncf"),
    "transformers": ("transformers", "torch"),
    "vllm": ("vllm",),
    "tensorrt_llm": ("tensorrt_llm",),
}
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "nvidia": ("pynvml",),
    "figures": ("matplotlib",),
    "history": ("pyarrow",),
}


@dataclass(frozen=True, slots=True)
class Cpu:
    """The CPU as seen from here; None is what the system does not tell.

    siblings: groups of hardware threads that share a core. quota_cores: the container's limit.
    """

    cores: tuple[int, ...] = ()
    governors: tuple[str, ...] | None = None
    is_turbo_on: bool | None = None
    siblings: tuple[tuple[int, ...], ...] | None = None
    busy_share: float | None = None  # of the machine, by others, over `LOOK_S`
    steal_share: float | None = None
    load: float | None = None  # of the last minute
    quota_cores: float | None = None
    is_quota_told: bool = False


@dataclass(frozen=True, slots=True)
class Clock:
    """How well time can be told: what a reading costs, and how late a sleep of 1 ms wakes (median)."""

    source: str | None
    call_s: float
    late_s: float


@dataclass(frozen=True, slots=True)
class Facts:
    """All that findings are made from. missing: modules that a backend or an extra lacks here, by its name."""

    cpu: Cpu
    clock: Clock
    gpus: Gpus = field(default_factory=Gpus)
    now: tuple[GpuNow, ...] = ()
    has_nvidia: bool = False
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None
    cache: str = ""
    cache_free_bytes: int | None = None
    open_files_most: int | None = None  # None: no limit
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_facts(state: Path) -> Facts:
    """Look at the machine for about half a second; `state` is the folder with the engine cache."""
    gpus = read_gpus()
    total, free = memory()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # the client raises its own limit to this
    return Facts(
        cpu=_cpu(),
        clock=_clock(),
        gpus=gpus,
        now=_now(gpus),
        has_nvidia=NVIDIA.exists(),
        memory_bytes=total,
        memory_free_bytes=free,
        cache=str(state),
        cache_free_bytes=_disk_free(state),
        open_files_most=None if most == resource.RLIM_INFINITY else most,
        missing={name: missing_of(modules) for name, modules in {**BACKENDS, **EXTRAS}.items()},
    )


def missing_of(modules: Iterable[str]) -> tuple[str, ...]:
    """Those that cannot be imported, without importing any."""
    return tuple(name for name in modules if importlib.util.find_spec(name) is None)


def _now(gpus: Gpus) -> tuple[GpuNow, ...]:
    wanted = {gpu.uuid for gpu in gpus.seen}
    try:
        with open_nvml() as nvml:
            return tuple(read_now(nvml, one, os.getpid()) for one in all_gpus(nvml) if one.uuid in wanted)
    except NoNvmlError:
        return ()


def _cpu() -> Cpu:
    cores = allowed_cpus()
    before, begin = read_counters(), time.perf_counter()
    time.sleep(max(0.0, LOOK_S - (time.perf_counter() - begin)))
    after = read_counters()
    host = host_between(before, after) if after.busy_cpu_s is not None else None
    is_told, quota = quota_cores(CGROUP, Path("/proc/self/cgroup"))
    return Cpu(
        cores=cores,
        governors=_governors(cores),
        is_turbo_on=_turbo(),
        siblings=_siblings(cores),
        busy_share=None if host is None else host.foreign_cpu_share,
        steal_share=None if host is None else host.steal_share,
        load=os.getloadavg()[0],
        quota_cores=quota,
        is_quota_told=is_told,
    )


def _governors(cores: Iterable[int], root: Path = CPU) -> tuple[str, ...] | None:
    found = {text for core in cores if (text := _text(root / f"cpu{core}" / "cpufreq" / "scaling_governor"))}
    return tuple(sorted(found)) or None


def _turbo(root: Path = CPU) -> bool | None:
    if (off := _text(root / "intel_pstate" / "no_turbo")) is not None:
        return off == "0"
    on = _text(root / "cpufreq" / "boost")
    return None if on is None else on == "1"


def _siblings(cores: Iterable[int], root: Path = CPU) -> tuple[tuple[int, ...], ...] | None:
    lists = [_text(root / f"cpu{core}" / "topology" / "thread_siblings_list") for core in cores]
    found = {parsed for text in lists if text is not None and (parsed := parse_cpus(text))}
    return tuple(sorted(found)) or None


def quota_cores(root: Path, own: Path) -> tuple[bool, float | None]:
    """Whether the cgroup's CPU limit can be read, and the limit in cores, the lowest of the groups that we are in."""
    path = _text(own) or ""
    inside = next((line.partition("::")[2] for line in path.splitlines() if line.startswith("0::")), "/")
    folders = [root / inside.lstrip("/"), *(root / inside.lstrip("/")).parents]
    folders = [folder for folder in folders if folder == root or root in folder.parents]
    texts = [text for folder in folders if (text := _text(folder / "cpu.max")) is not None]
    limits = [int(words[0]) / int(words[1]) for text in texts if (words := text.split())[0] != "max"]
    if texts:
        return True, min(limits, default=None)
    quota, period = _text(root / "cpu" / "cpu.cfs_quota_us"), _text(root / "cpu" / "cpu.cfs_period_us")
    if quota is None or period is None:
        return root.exists(), None  # the topmost group has no such file: nothing limits it
    return True, int(quota) / int(period) if int(quota) > 0 else None


def _clock() -> Clock:
    begin = time.perf_counter()
    for _ in range(_CALLS):
        time.perf_counter()
    call_s = (time.perf_counter() - begin) / _CALLS
    return Clock(_text(CLOCKSOURCE), call_s, median(_late() for _ in range(_SLEEPS)))


def _late() -> float:
    begin = time.perf_counter()
    time.sleep(_SLEEP_S)
    return time.perf_counter() - begin - _SLEEP_S


def memory() -> tuple[int | None, int | None]:
    """Bytes of memory, and of those that a new program may take (`proc_meminfo(5)`)."""
    found: dict[str, int] = {}
    for line in (_text(Path("/proc/meminfo")) or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return found.get("MemTotal"), found.get("MemAvailable")


def _disk_free(folder: Path) -> int | None:
    there = next((one for one in (folder.absolute(), *folder.absolute().parents) if one.exists()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
