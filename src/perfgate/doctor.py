"""What of a machine is fit for measuring, what is not and what to type, and what cannot be known: a pure function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from perfgate.doctor_facts import BACKENDS, EXTRAS, Facts
from perfgate.gpu.facts import Gpu, GpuNow
from perfgate.gpu.sample import THROTTLING
from perfgate.percent import percent
from perfgate.pinning import cpu_text

BUSY_SHARE = 0.05  # by others: each per cent of the machine that is taken shows in what is measured beside it
STEAL_SHARE = 0.01
FREE_SHARE, FREE_BYTES = 0.1, 2 * 2**30  # memory
CACHE_BYTES = 10 * 2**30  # prepared engines and logs of a few small models; large ones need more
OPEN_FILES = 4096  # 1024 streams, their server's ends and logs, on one machine
CALL_S = 1e-6  # a clock read in the kernel (hpet, acpi_pm) takes this long; by tsc it is some 30 ns
LATE_S = 0.5e-3
_SLOW_SOURCES = ("hpet", "acpi_pm", "refined-jiffies")
_GIB = 2**30


class Fitness(StrEnum):
    """What a finding says of the machine."""

    UNFIT = "unfit"
    FIT = "fit"
    UNKNOWN = "cannot be known here"


@dataclass(frozen=True, slots=True)
class Finding:
    """One property: what was found, and where it is unfit what to type or do."""

    topic: str
    fitness: Fitness
    found: str
    next: str = ""


def findings(facts: Facts) -> tuple[Finding, ...]:
    """Everything that is known of this machine, GPU first."""
    return (*_gpus(facts), *_cpu(facts), *_room(facts), *_clock(facts), *_packages(facts))


def _fit(topic: str, found: str) -> Finding:
    return Finding(topic, Fitness.FIT, found)


def _unfit(topic: str, found: str, then: str) -> Finding:
    return Finding(topic, Fitness.UNFIT, found, then)


def _unknown(topic: str, found: str, then: str = "") -> Finding:
    return Finding(topic, Fitness.UNKNOWN, found, then)


def _either(topic: str, wrong: str, then: str, right: str) -> Finding:
    """Unfit where there is something wrong to say."""
    return _unfit(topic, wrong, then) if wrong else _fit(topic, right)


# ------------------------------------------------------------------ GPU


def _gpus(facts: Facts) -> Iterator[Finding]:
    if not facts.gpus.seen:
        yield _no_gpu(facts)
        return
    seen = facts.gpus.seen
    yield _fit("GPU", f"{len(seen)} x {seen[0].name}, driver {facts.gpus.driver}, CUDA {facts.gpus.cuda or '?'}")
    if not facts.gpus.is_order_sure:
        then = "export CUDA_DEVICE_ORDER=PCI_BUS_ID"
        yield _unfit("GPU order", "GPUs of several products: CUDA may number them otherwise than NVML", then)
    yield _persistence(seen)
    yield _power_limit(seen)
    yield _ecc(seen)
    yield _mig(seen)
    yield _compute_mode(seen)
    yield _lanes(seen)
    yield from _state(facts.now)
    yield _unknown("GPU clocks locked", "NVML does not tell what is set", "gate.lock_clocks: MHZ asks and reads back")


def _no_gpu(facts: Facts) -> Finding:
    if facts.has_nvidia and facts.missing.get("nvidia"):
        return _unfit("GPU", "there is one, and nvidia-ml-py is not installed", "pip install nvidia-ml-py")
    if facts.has_nvidia or facts.gpus.hidden:
        why = facts.gpus.fault or f"{facts.gpus.hidden} there, none visible to CUDA programs"
        return _unfit("GPU", why, "look at nvidia-smi and at CUDA_VISIBLE_DEVICES")
    return _fit("GPU", "none: cases run on the CPU")


def _which(gpus: Iterable[Gpu]) -> str:
    return "GPU " + ", ".join(str(gpu.index) for gpu in gpus)


def _told(topic: str, values: Sequence[object]) -> Finding | None:
    return None if any(value is not None for value in values) else _unknown(topic, "NVML does not tell")


def _persistence(gpus: Sequence[Gpu]) -> Finding:
    topic, off = "GPU persistence mode", [gpu for gpu in gpus if gpu.persistence is False]
    wrong = f"off on {_which(off)}: the driver starts anew for each round" if off else ""
    return _told(topic, [gpu.persistence for gpu in gpus]) or _either(topic, wrong, "sudo nvidia-smi -pm 1", "on")


def _power_limit(gpus: Sequence[Gpu]) -> Finding:
    topic = "GPU power limit"
    low = [gpu for gpu in gpus if (gpu.power_limit_w or 0.0) < (gpu.power_default_w or 0.0)]
    if not low:
        told = _told(topic, [gpu.power_limit_w for gpu in gpus])
        return told or _fit(topic, f"{gpus[0].power_limit_w:.0f} W, not below the default")
    first = low[0]
    wrong = f"{first.power_limit_w:.0f} W on {_which(low)}, the default is {first.power_default_w:.0f} W"
    return _unfit(topic, wrong, f"sudo nvidia-smi -i {first.index} -pl {first.power_default_w:.0f}")


def _ecc(gpus: Sequence[Gpu]) -> Finding:
    topic, pending = "GPU ECC", [gpu for gpu in gpus if gpu.ecc_pending not in (None, gpu.ecc)]
    if pending:
        wrong = f"a change waits on {_which(pending)}: it comes into force at the next restart"
        return _unfit(topic, wrong, f"sudo nvidia-smi -i {pending[0].index} --gpu-reset")
    if len({gpu.ecc for gpu in gpus}) > 1:
        on = [gpu for gpu in gpus if gpu.ecc]
        return _unfit(topic, f"on for {_which(on)} only: memory differs in speed and size", "sudo nvidia-smi -e 1")
    return _told(topic, [gpu.ecc for gpu in gpus]) or _fit(topic, "on" if gpus[0].ecc else "off, alike on all")


def _mig(gpus: Sequence[Gpu]) -> Finding:
    topic = "GPU MIG"
    if any(gpu.is_slice for gpu in gpus):
        return _unknown(topic, "this is a slice: work in other slices shares its power and clocks, and is not seen")
    return _fit(topic, "off")


def _compute_mode(gpus: Sequence[Gpu]) -> Finding:
    topic, shut = "GPU compute mode", [gpu for gpu in gpus if gpu.compute_mode == "prohibited"]
    wrong = f"prohibited on {_which(shut)}: no CUDA program can run" if shut else ""
    told = _told(topic, [gpu.compute_mode for gpu in gpus])
    return told or _either(topic, wrong, "sudo nvidia-smi -c DEFAULT", gpus[0].compute_mode or "")


def _lanes(gpus: Sequence[Gpu]) -> Finding:
    topic = "GPU PCIe"
    few = [gpu for gpu in gpus if (gpu.pcie_width or 0) < (gpu.pcie_width_max or 0)]
    told = _told(topic, [gpu.pcie_width for gpu in gpus])
    wrong = f"{few[0].pcie_width} of {few[0].pcie_width_max} lanes on {_which(few)}" if few else ""
    return told or _either(topic, wrong, "reseat the card, or look into the firmware", f"{gpus[0].pcie_width} lanes")


def _state(now: Sequence[GpuNow]) -> Iterator[Finding]:
    others = [one for gpu in now for one in gpu.processes or ()]
    wrong = "; ".join(map(str, others[:3])) + (f" and {len(others) - 3} more" if len(others) > 3 else "")  # noqa: PLR2004
    told = _told("GPU processes", [gpu.processes for gpu in now])
    yield told or _either("GPU processes", wrong, "end them, or take another GPU by CUDA_VISIBLE_DEVICES", "none")
    held = sorted({reason for gpu in now for reason in gpu.reasons or () if reason in THROTTLING})
    told = _told("GPU throttling", [gpu.reasons for gpu in now])
    yield told or _either(
        "GPU throttling", ", ".join(held), "nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER", "none now"
    )


# ------------------------------------------------------------------ CPU


def _cpu(facts: Facts) -> Iterator[Finding]:
    cpu = facts.cpu
    yield _governor(cpu.governors)
    yield _turbo(is_on=cpu.is_turbo_on)
    yield _threads(cpu.siblings, cpu.cores)
    yield _share("steal time", cpu.steal_share, STEAL_SHARE, "taken by the hypervisor", "use a machine of your own")
    yield _share("load now", cpu.busy_share, BUSY_SHARE, "taken by other programs", "end them: see top")
    yield _quota(cpu.quota_cores, len(cpu.cores), is_told=cpu.is_quota_told)


def _governor(governors: tuple[str, ...] | None) -> Finding:
    if governors is None:
        return _unknown("CPU governor", "the system does not tell: a virtual machine, or a container")
    wrong = "" if governors == ("performance",) else f"{', '.join(governors)}: clocks follow the load"
    return _either("CPU governor", wrong, "sudo cpupower frequency-set -g performance", "performance")


def _turbo(*, is_on: bool | None) -> Finding:
    if is_on is None:
        return _unknown("CPU turbo", "the system does not tell")
    wrong = "on: clocks follow temperature and the other cores" if is_on else ""
    then = "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo (or 0 into .../cpufreq/boost)"
    return _either("CPU turbo", wrong, then, "off")


def _threads(siblings: tuple[tuple[int, ...], ...] | None, cores: Sequence[int]) -> Finding:
    topic = "CPU hyperthreads"
    if siblings is None:
        return _unknown(topic, "the system does not tell")
    shared = [group for group in siblings if len(set(group) & set(cores)) > 1]
    one_each = cpu_text(group[0] for group in siblings)
    wrong = f"{len(shared)} cores are shared by two threads, which slow each other" if shared else ""
    return _either(topic, wrong, f"pin rounds to one of each: gate.cpus of {one_each}", "off, or not among our cores")


def _share(topic: str, share: float | None, most: float, by: str, then: str) -> Finding:
    if share is None:
        return _unknown(topic, "the system does not tell")
    text = f"{percent(share)} of the machine {by}"
    return _either(topic, text if share > most else "", then, text)


def _quota(quota: float | None, cores: int, *, is_told: bool) -> Finding:
    topic = "CPU limit"
    if not is_told:
        return _unknown(topic, "no cgroup is readable")
    wrong = f"{quota:g} cores' time, {cores} cores to run on: programs stop for parts of each 0.1 s" if quota else ""
    is_low = quota is not None and quota < cores
    then = "give the container whole cores: --cpuset-cpus instead of --cpus"
    return _either(topic, wrong if is_low else "", then, f"none below the {cores} cores")


# ------------------------------------------------------------------ room, clocks, packages


def _room(facts: Facts) -> Iterator[Finding]:
    total, free = facts.memory_bytes, facts.memory_free_bytes
    if total is None or free is None:
        yield _unknown("memory", "the system does not tell")
    else:
        text = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
        is_low = free < max(FREE_BYTES, FREE_SHARE * total)
        yield _either("memory", text if is_low else "", "end other programs", text)
    if facts.cache_free_bytes is None:
        yield _unknown("disk", f"no folder for {facts.cache}")
    else:
        text = f"{facts.cache_free_bytes / _GIB:.1f} GiB free for {facts.cache}"
        is_low = facts.cache_free_bytes < CACHE_BYTES
        yield _either(
            "disk", text if is_low else "", "perfgate cache prune --max-bytes 20GB, or --state in another place", text
        )
    most = facts.open_files_most
    wrong = "" if most is None or most >= OPEN_FILES else f"{most} a process, 1024 streams take {OPEN_FILES}"
    then = f"raise the hard limit: ulimit -Hn {OPEN_FILES} as root, or docker run --ulimit nofile={OPEN_FILES}"
    yield _either("open files", wrong, then, f"{most or 'any number'} a process")


def _clock(facts: Facts) -> Iterator[Finding]:
    clock = facts.clock
    text = f"{clock.source or 'source not told'}, {clock.call_s * 1e9:.0f} ns a reading"
    is_slow = clock.call_s > CALL_S or clock.source in _SLOW_SOURCES
    yield _either("clock", text if is_slow else "", "boot with clocksource=tsc, where the CPU has a steady one", text)
    text = f"a sleep of 1 ms ends {clock.late_s * 1e6:.0f} us late (median)"
    yield _either("timers", text if clock.late_s > LATE_S else "", "look for load, limits and power saving", text)


def _packages(facts: Facts) -> Iterator[Finding]:
    missing: Mapping[str, tuple[str, ...]] = facts.missing
    ready = [name for name in BACKENDS if not missing.get(name)]
    lacking = [f"{name} ({', '.join(missing[name])})" for name in BACKENDS if missing.get(name)]
    text = f"ready: {', '.join(ready) or 'none'}" + (f"; not installed: {', '.join(lacking)}" if lacking else "")
    yield _either("backends", "" if ready else text, "pip install 'pytest-perfgate[embedded]'", text)
    extras = [name for name in EXTRAS if missing.get(name)]
    lacks = [f"{name} ({', '.join(missing[name])})" for name in extras]
    yield _fit("extras", f"not installed: {', '.join(lacks)}" if lacks else "all there")
